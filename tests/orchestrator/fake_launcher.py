"""A launcher whose stages are made up: they end and fail when told to. And a controller on it."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.execution.launcher import Finished, Heard, Launcher
from orchestrator.execution.run_stage import StageTask
from orchestrator.grid.cells import Study, text_id
from orchestrator.grid.expand import expand
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.controller import Controller
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator.sample_grids import grid, model
from trsp.config import MeasurementSettings
from trsp.records import (
    CheckpointRecord,
    EvaluationRecord,
    MeasurementRecord,
    Record,
    RoundRecord,
    Score,
    TransferRecord,
)

LAYERS = 10
MAX_STEPS = 200
CANCELLED = Failure("TaskCancelledError", "cancelled", FailureKind.LOST)


def resolved(folder: Path, **changes: object) -> Resolved:
    """A grid of 2 ratios x 2 lambda_1 x 1 lambda_2, with these changes; its store is in ``folder``.

    Its model of 10 layers need not exist.
    """
    axes = {
        "ratios": [0.2, 0.5],
        "gate_l1": [1e-3, 1e-2],
        "drift": 1e-3,
        "storage": {"store": str(folder / "store")},
    }
    settings = grid(**(axes | changes))
    texts = [settings.calibration.text, *(p.text for p in settings.evaluation.perplexity)]
    study = Study(
        calibration=settings.calibration,
        evaluation=settings.evaluation,
        measurement=MeasurementSettings.model_validate({}),
        precision=settings.precision,
        hardware="cpu",
        text_fingerprints={text_id(text): f"sha256:{text.name}-{text.path}" for text in texts},
    )
    models = {"m": model(layers=LAYERS)}
    return Resolved(settings, models, study, expand(settings, models))


def one_cell(folder: Path, **changes: object) -> Resolved:
    return resolved(folder, **({"ratios": [0.2], "gate_l1": 1e-3} | changes))


def store_of(resolved: Resolved) -> Store:
    return Store(resolved.grid.storage.store)


def result_files(store: str) -> dict[str, int]:
    """Everything that stands for finished work, with the time at which it was written."""
    found = (Path(store).glob(f"stages/*/*/{name}") for name in ("result.json", "rounds/*.json"))
    return {str(path): path.stat().st_mtime_ns for paths in found for path in paths}


class FakeLauncher:
    """Notes what it is told to start, and ends it at the next ``poll``.

    ``fail``: what the next attempts at a kind of stage end with.
    ``holds``: nothing ends until ``holds`` is unset. ``queues``: nothing begins meanwhile.
    """

    measures_alone = True
    hands_over = False  # whether stages that follow in a process are welcome; see FakeChains

    def __init__(
        self, slots: int = 4, fail: Iterable[tuple[StageKind, Failure]] = (), holds: bool = False
    ) -> None:
        self.holds, self.stopped, self.queues = holds, False, False
        self.started, self.cancelled = list[StageTask](), list[str]()
        self.says: dict[str, Heard] = {}  # by key
        self.loses: set[StageKind] = set()  # kinds that end without an error and without a result
        self.cluster = Capacity(cpus=slots)
        self.avoids: frozenset[str] = frozenset()
        self.can_become: Capacity | None = None  # default: it stays as it is
        self.requests = list[tuple[Layout, ...]]()
        self.gains: set[StageKind] = set()  # kinds that leave a newer snapshot before they fail
        self._fail = list(fail)
        self._running, self._ending = dict[str, StageTask](), list[str]()

    def hardware(self) -> str:
        return "cpu"

    def capacity(self) -> Capacity:
        return self.cluster

    def begun(self) -> frozenset[str]:
        return frozenset() if self.queues else frozenset(self._running)

    def heard(self) -> dict[str, Heard]:
        return self.says

    def avoid(self, nodes: Collection[str]) -> None:
        self.avoids = frozenset(nodes)

    def potential(self) -> Capacity:
        return self.can_become or self.cluster

    def request(self, layouts: Sequence[Layout]) -> None:
        self.requests.append(tuple(layouts))

    def start(self, task: StageTask) -> None:
        assert task.spec.key not in self._running, "each at most once at a time"
        self.started.append(task)
        self._running[task.spec.key] = task

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        cancelled, self._ending = self._ending, []
        finished = [Finished(key, CANCELLED) for key in cancelled if self._running.pop(key, None)]
        if not self.holds:
            ending, self._running = self._running, {}
            finished += [Finished(key, self._end(task)) for key, task in ending.items()]
        return tuple(finished)

    def cancel(self, key: str) -> None:
        self.cancelled.append(key)
        self._ending.append(key)

    def stop(self) -> None:
        self._running = {}
        self.stopped = True

    def started_kinds(self) -> list[StageKind]:
        return [task.spec.kind for task in self.started]

    def tasks(self, kind: StageKind) -> list[StageTask]:
        """Every attempt at this kind of stage, as it was started."""
        return [task for task in self.started if task.spec.kind is kind]

    def started_keys(self) -> list[str]:
        return [task.spec.key for task in self.started]

    def _end(self, task: StageTask) -> Failure | None:
        """Leave in the store what the attempt would, and return what it failed of."""
        kind = task.spec.kind
        failure = next((failure for failing, failure in self._fail if failing is kind), None)
        if failure is not None:
            self._fail.remove((kind, failure))
            if kind in self.gains:
                take_snapshot(task)
            Store(task.store).failures.record(task.spec.key, failure)
        elif kind not in self.loses:
            finish(task)
        return failure


def finish(task: StageTask) -> None:
    """Leave in the store what the stage would."""
    spec, store = task.spec, Store(task.store)
    if spec.kind is StageKind.RANKING:
        order = _order(spec.inputs["gate_l1"])
        for number in range(len(store.rankings.rounds(spec.key)), spec.depth):
            record = RoundRecord(round=number, layer=order[number], rate_scale=task.lr_scale)
            store.rankings.publish(task.ticket, record)
        store.claims.log.require(task.ticket)
        return
    record = record_of(task)
    if spec.kind not in (StageKind.TRANSFER, StageKind.PRUNE):
        store.stages.commit(task.ticket, spec, record)
        return
    with store.stages.staging(task.ticket) as folder:
        (folder / "config.json").write_text("{}", encoding="utf-8")
        store.stages.commit(task.ticket, spec, record, folder)


def record_of(task: StageTask) -> dict[str, Any]:
    """The record of a stage that is no ranking, with numbers that look true."""
    spec = task.spec
    layers = tuple(spec.inputs.get("layers", ()))
    checkpoint = CheckpointRecord(
        removed_layers=layers,
        layers=LAYERS - len(layers),
        params=100,
        size_bytes=200,
        kv_bytes_per_token=4,
        seconds=1,
    )
    evaluation = EvaluationRecord(scores={"perplexity/wiki": Score(value=20.0)}, seconds=1)
    fields = MeasurementRecord.model_fields.items()
    numbers = dict.fromkeys([name for name, field in fields if field.is_required()], 1)
    measurement = MeasurementRecord.model_validate(
        numbers | {"hardware": "cpu", "seconds": 1, "noise": ""}
    )
    transfer = TransferRecord(layers=layers, rate_scale=task.lr_scale, seconds=1)
    if spec.kind is StageKind.DENSE:
        return {
            "checkpoint": checkpoint.model_dump(),
            "evaluation": evaluation.model_dump(mode="json"),
            "seconds": 1,
        }
    records: dict[StageKind, Record] = {
        StageKind.TRANSFER: transfer,
        StageKind.PRUNE: checkpoint,
        StageKind.EVALUATE: evaluation,
        StageKind.MEASURE: measurement,
    }
    return records[spec.kind].model_dump(mode="json")


def take_snapshot(task: StageTask) -> None:
    """Leave a snapshot one step further than the last."""
    snapshots = StoreSnapshots(Store(task.store), task.spec.key, task.ticket)
    newest = snapshots.latest()
    snapshots.commit((newest.step if newest else 0) + 1, {}, {})


def _order(gate_l1: float | None) -> list[int]:
    """Two lambda_1 agree on the first two layers, as sets, and on nothing deeper."""
    return [8, 7, 6, 5, 4, 3, 2, 1] if gate_l1 == 1e-3 else [7, 8, 1, 2, 3, 4, 5, 6]


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def controller_of(resolved: Resolved, launcher: Launcher, clock: Clock | None = None) -> Controller:
    """A controller that looks at the store in every step: what others do it sees at once."""
    return Controller(resolved, store_of(resolved), launcher, clock or Clock(), look_every_s=0)


def drive(controller: Controller) -> GridView:
    """Step to the end and return the last view; AssertionError when the end does not come."""
    for _ in range(MAX_STEPS):
        view = controller.step()
        if view.status in (Status.DONE, Status.FAILED):
            return view
    raise AssertionError(f"still {view.status}: {[(c.stage, c.reason) for c in view.cells]}")


def failed_stages(view: GridView) -> list[tuple[str, str]]:
    """Stage and reason of every reference and cell that has failed; a reference has no stage."""
    failed = [part for part in view.parts if part.status is Status.FAILED]
    return [(getattr(part, "stage", ""), part.reason) for part in failed]
