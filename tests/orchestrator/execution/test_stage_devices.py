"""Stages and the locks of devices: whoever drives them, a measurement has its device alone."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from orchestrator.execution.run_stage import StageTask, run_rank, run_task
from orchestrator.execution.stage_functions import STAGES
from orchestrator.execution.stage_task import RankContext
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.peak import GPU_CONTEXT_BYTES
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind, measure_spec, prune_spec
from orchestrator.store.store import Store
from tests.orchestrator.execution.conftest import LAYERS
from trsp.distributed.device_lock import own_devices, share_devices


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRSP_LOCK_DIR", str(tmp_path / "locks"))


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When stages of pruning began to compute; they compute nothing."""
    times: list[float] = []

    def note(context: RankContext) -> None:
        times.append(time.monotonic())

    monkeypatch.setitem(STAGES, StageKind.PRUNE, note)  # type: ignore[arg-type]
    return times


@pytest.fixture
def pruning(resolved: Resolved, store: Store) -> StageTask:
    return StageTask(prune_spec(resolved.cells[0], resolved.study, LAYERS), store.uri, Layout())


def quick(task: StageTask, **changes: object) -> StageTask:
    return StageTask(**{**vars(task), **changes})  # type: ignore[arg-type]


def test_a_stage_begins_when_a_measurement_of_another_driver_is_over(
    pruning: StageTask, began: list[float]
) -> None:
    told: list[float] = []
    with own_devices(wait_s=0):
        computes = {"computes": lambda: told.append(time.monotonic())}
        stage = threading.Thread(target=run_task, args=[pruning], kwargs=computes)
        stage.start()
        time.sleep(0.3)
        assert began == []
        assert told == [], "what it waits is no time of its own"
    stage.join()
    assert len(began) == len(told) == 1
    assert told < began, "whoever limits its time is told first"


def test_only_the_first_rank_of_a_gang_says_that_it_computes(
    pruning: StageTask, began: list[float]
) -> None:
    told: list[int] = []
    gang = quick(pruning, layout=Layout(ranks=2))
    for rank in (1, 0):
        run_rank(gang, rank, computes=partial(told.append, rank))
    assert told == [0]
    assert len(began) == 2


def test_a_stage_waits_no_longer_than_its_peers_allow(
    pruning: StageTask, began: list[float]
) -> None:
    with own_devices(wait_s=0):
        assert run_task(quick(pruning, hang_timeout_s=0.4)) is None
    assert len(began) == 1


@contextmanager
def measurement_waiting() -> Iterator[None]:
    """A measurement that waits, for as long, until a stage of another driver has ended."""

    def measure() -> None:
        with own_devices(wait_s=30):
            pass

    with share_devices(wait_s=0):
        waiting = threading.Thread(target=measure)
        waiting.start()
        time.sleep(0.3)
        yield
    waiting.join()


def test_a_rank_of_a_gang_does_not_wait_for_whoever_waits_for_its_peers(
    pruning: StageTask, began: list[float]
) -> None:
    gang = quick(pruning, layout=Layout(ranks=2))
    started = time.monotonic()
    with measurement_waiting():
        run_rank(gang, rank=1)
    assert began[0] - started < 10


def test_a_single_rank_lets_a_measurement_that_waits_go_first(
    pruning: StageTask, began: list[float]
) -> None:
    with measurement_waiting():
        stage = threading.Thread(target=run_task, args=[pruning])
        stage.start()
        time.sleep(0.3)
        assert began == []
    stage.join()


def test_a_measurement_beside_a_stage_of_another_driver_is_marked(
    resolved: Resolved, store: Store
) -> None:
    spec = measure_spec(resolved.models["tiny-llama"], resolved.study, ())
    assert spec is not None
    with share_devices(wait_s=0):
        assert run_task(StageTask(spec, store.uri, Layout(), device_wait_s=0.2)) is None
    record = store.stages.result(spec.key)
    assert record is not None
    assert "others computed on cpu meanwhile" in record["noise"]


@pytest.mark.parametrize(("gpus", "parts"), [(0.25, [0.25]), (1, []), (0, [])])
def test_a_stage_keeps_within_its_part_of_a_gpu(
    pruning: StageTask, monkeypatch: pytest.MonkeyPatch, gpus: float, parts: list[float]
) -> None:
    opened: list[float] = []

    @contextmanager
    def sharing(part: float, beside_bytes: int) -> Iterator[None]:
        assert beside_bytes == GPU_CONTEXT_BYTES
        opened.append(part)
        yield
        opened.append(-part)

    monkeypatch.setattr("trsp.distributed.device.sharing_memory", sharing)
    during: list[list[float]] = []
    stage = {StageKind.PRUNE: lambda context: during.append(list(opened))}
    monkeypatch.setitem(STAGES, StageKind.PRUNE, stage[StageKind.PRUNE])  # type: ignore[arg-type]
    assert run_task(quick(pruning, layout=Layout(gpus=gpus))) is None
    assert during == [parts]
    assert opened == [*parts, *(-part for part in parts)]
