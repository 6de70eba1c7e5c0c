"""A stage as it travels to its process, and which stages may follow each other in one."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.execution.apart import stage_process
from orchestrator.execution.apart.stage_process import outcomes_of, preload, run, stage_call
from orchestrator.execution.stage_task import StageTask
from orchestrator.layouts.layout import Layout
from orchestrator.processes.fresh import Processes
from orchestrator.processes.place import Preload
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.failures import Failure, FailureKind, Node
from orchestrator.store.store import Store
from trsp.config import EngineSettings

INPUTS = {"layers": (1, 4), "rate": 0.1 + 0.2, "text": None, "nested": {"kinds": ("a", "b")}}
TASK = StageTask(
    StageSpec(StageKind.MEASURE, INPUTS, {"model": {"source": "/m"}}, ("prune-1",), depth=3),
    "/a store",
    Layout(1, 2, 0.5, 7, EngineSettings(zero_stage=2), "A100"),
    "attempt-2",
    claim=5,
    lr_scale=0.5,
    snapshot_every_steps=7,
)


class Silent:
    """A channel at which all is noted."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.last = False

    def tell(self, message: object) -> None:
        self.told.append(message)

    def leaving(self) -> bool:
        return False


def test_a_task_travels_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[StageTask] = []
    monkeypatch.setattr("orchestrator.execution.run_stage.run_task", lambda t, *_: came.append(t))
    run(stage_call(TASK, {}).payload, Silent())  # type: ignore[arg-type]
    assert came[0].spec.key == TASK.spec.key
    assert replace(came[0], spec=TASK.spec) == TASK
    assert (came[0].spec.reads, came[0].spec.depth) == (TASK.spec.reads, TASK.spec.depth)


def test_a_failure_travels_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure(
        "E", "m", FailureKind.HUNG, "d", 1.5, layout={"ranks": 1}, node=Node("a", "b")
    )
    monkeypatch.setattr("orchestrator.execution.run_stage.run_task", lambda *_: failure)
    returned = run(stage_call(TASK, {}).payload, Silent())  # type: ignore[arg-type]
    assert outcomes_of(returned) == {TASK.spec.key: failure}


@pytest.mark.parametrize("failure", [None, Failure("E", "m", FailureKind.LOST, "", 0.0)])
def test_no_stage_follows_one_that_failed(
    failure: Failure | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.execution.run_stage.run_task", lambda *_: failure)
    channel = Silent()
    run(stage_call(TASK, {}).payload, channel)  # type: ignore[arg-type]
    assert channel.last is (failure is not None)


def test_stages_that_follow_travel_with_it_and_each_tells_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    follower = replace(TASK, spec=StageSpec(StageKind.EVALUATE, INPUTS), attempt="another", claim=9)
    came: list[StageTask] = []

    def chain(
        task: StageTask, leaving: Any, computes: Any, done: Any, node: Node, tells: Any
    ) -> Any:
        came.append(task)
        computes(task.spec.key)
        done(task.spec.key)
        return {task.spec.key: None}

    monkeypatch.setattr("orchestrator.execution.chain.run_chain", chain)
    channel = Silent()
    returned = run(stage_call(replace(TASK, then=(follower,)), {}).payload, channel)  # type: ignore[arg-type]
    assert outcomes_of(returned) == {TASK.spec.key: None}
    (then,) = came[0].then
    assert (then.ticket, then.spec.key) == (follower.ticket, follower.spec.key)
    assert channel.told == [{"computes": TASK.spec.key}, {"done": TASK.spec.key}]


@pytest.mark.parametrize(
    ("kind", "gpus", "may"),
    [
        (StageKind.PRUNE, 0, True),
        (StageKind.EVALUATE, 0, True),
        (StageKind.DENSE, 0, True),
        (StageKind.EVALUATE, 0.5, False),
        (StageKind.TRANSFER, 0, False),
        (StageKind.RANKING, 0, False),
        (StageKind.MEASURE, 0, False),
    ],
)
def test_only_stages_that_train_nothing_and_hold_no_gpu_follow_each_other(
    kind: StageKind, gpus: float, may: bool
) -> None:
    task = StageTask(StageSpec(kind, {}), "/s", Layout(gpus=gpus))
    assert stage_call(task, {}).may_follow is may


def test_a_chain_travels_whole_and_tells_of_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    second = StageTask(StageSpec(StageKind.EVALUATE, {}), TASK.store)
    came: list[StageTask] = []

    def run_chain(
        task: StageTask, leaving: object, computes: Any, done: Any, node: Node, tells: Any
    ) -> Any:
        came.append(task)
        computes(task.spec.key)
        tells(task.spec.key, "step 3 of 20")
        done(task.spec.key)
        return {task.spec.key: None}

    monkeypatch.setattr("orchestrator.execution.chain.run_chain", run_chain)
    channel = Silent()
    returned = run(stage_call(replace(TASK, then=(second,)), {}).payload, channel)  # type: ignore[arg-type]
    assert came[0].then[0].spec.key == second.spec.key
    assert channel.told == [
        {"computes": TASK.spec.key},
        {"progress": [TASK.spec.key, "step 3 of 20"]},
        {"done": TASK.spec.key},
    ]
    assert outcomes_of(returned) == {TASK.spec.key: None}


@pytest.mark.parametrize(("gpus", "forks"), [(0, False), (1, True)])
def test_a_measurement_on_a_cpu_has_no_imports_of_others_in_its_memory(
    gpus: int, forks: bool
) -> None:
    task = StageTask(StageSpec(StageKind.MEASURE, {}), "/s", Layout(gpus=gpus))
    assert stage_call(task, {}).forks is forks


def test_a_chain_with_a_measurement_follows_nothing() -> None:
    head = StageTask(StageSpec(StageKind.PRUNE, {}), "/s")
    assert not stage_call(replace(head, then=(replace(TASK, layout=Layout()),)), {}).may_follow


def test_nothing_that_asks_for_gpus_is_imported_beforehand_where_there_are_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stage_process, "has_gpus", lambda: True)
    with_gpus = preload().modules
    monkeypatch.setattr(stage_process, "has_gpus", lambda: False)
    assert set(preload().modules) - set(with_gpus) == {"trsp.selection", "trsp.transfer"}


def test_a_stage_that_fails_in_its_process_leaves_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a server: this is the whole way of one stage, in a process that was just started."""
    monkeypatch.setenv("TRSP_TMPDIR", "/proc/nowhere")
    task = StageTask(StageSpec(StageKind.PRUNE, {}), str(tmp_path))
    told: list[object] = []
    monkeypatch.setattr("orchestrator.processes.fresh.forked", _no_server)
    ended = Processes(Preload(())).run(
        stage_call(task, {**os.environ, "TRSP_TMPDIR": str(tmp_path)}), told.append, lambda: False
    )
    failure = outcomes_of(ended.result)[task.spec.key]
    assert failure is not None
    assert failure.error == "KeyError"
    assert told == [{"computes": task.spec.key}]
    assert Store(task.store).failures.history(task.spec.key) == (failure,)


def _no_server(*_: object) -> None:
    raise OSError("no server here")
