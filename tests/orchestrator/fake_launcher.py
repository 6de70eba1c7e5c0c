"""A launcher whose stages are made up: they end and fail when told to, and leave results that look true. Computes nothing."""

from collections.abc import Iterable
from pathlib import Path

from orchestrator.execution.launcher import Finished, Launcher
from orchestrator.execution.run_stage import StageTask
from orchestrator.grid.cells import Study, text_id
from orchestrator.grid.expand import expand
from orchestrator.layouts.capacity import Capacity
from orchestrator.scheduler.controller import Controller
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.results import StoreResults
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator.sample_grids import grid, model
from trsp.config import MeasurementSettings
from trsp.records import (
    CheckpointRecord,
    EvaluationRecord,
    MeasurementRecord,
    RoundRecord,
    Score,
    TransferRecord,
)

LAYERS = 10
MAX_STEPS = 200
CANCELLED = Failure("TaskCancelledError", "cancelled", FailureKind.LOST)


def resolved(folder: Path, **changes: object) -> Resolved:
    """2 ratios x 2 lambda_1 x 1 lambda_2 of a model of 10 layers that need not exist; the store is in ``folder``."""
    axes = {
        "ratios": [0.2, 0.5],
        "gate_l1": [1e-3, 1e-2],
        "drift": 1e-3,
        "storage": {"store": str(folder / "store")},
    }
    asked = grid(**(axes | changes))
    texts = [asked.calibration.text, *(p.text for p in asked.evaluation.perplexity)]
    study = Study(
        calibration=asked.calibration,
        evaluation=asked.evaluation,
        measurement=MeasurementSettings.model_validate({}),
        precision=asked.precision,
        hardware="cpu",
        text_fingerprints={text_id(text): f"sha256:{text.name}-{text.path}" for text in texts},
    )
    models = {"m": model(layers=LAYERS)}
    return Resolved(asked, models, study, expand(asked, models))


class FakeLauncher:
    """``fail``: what the next attempts of a kind of stage end with. ``holds``: nothing ends until ``holds`` is unset."""

    measures_alone = True

    def __init__(
        self, slots: int = 4, fail: Iterable[tuple[StageKind, Failure]] = (), holds: bool = False
    ) -> None:
        self.holds = holds
        self.started: list[StageTask] = []
        self.cancelled: list[str] = []
        self.stopped = False
        self.loses: set[StageKind] = set()  # kinds that end without an error and without a result
        self.cluster = Capacity(cpus=slots)
        self.gains: set[StageKind] = set()  # kinds that leave a newer snapshot before they fail
        self._fail = list(fail)
        self._running: dict[str, StageTask] = {}
        self._ending: list[str] = []

    def hardware(self) -> str:
        return "cpu"

    def capacity(self) -> Capacity:
        return self.cluster

    def start(self, task: StageTask) -> None:
        assert task.spec.key not in self._running, "each at most once at a time"
        self.started.append(task)
        self._running[task.spec.key] = task

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        ending = [] if self.holds else list(self._running)
        over = [Finished(key, CANCELLED) for key in self._ending if self._running.pop(key, None)]
        self._ending = []
        return (
            *over,
            *(
                Finished(key, self._end(self._running.pop(key)))
                for key in ending
                if key in self._running
            ),
        )

    def cancel(self, key: str) -> None:
        self.cancelled.append(key)
        self._ending.append(key)

    def stop(self) -> None:
        self._running = {}
        self.stopped = True

    def started_kinds(self) -> list[StageKind]:
        return [task.spec.kind for task in self.started]

    def started_keys(self) -> list[str]:
        return [task.spec.key for task in self.started]

    def _end(self, task: StageTask) -> Failure | None:
        for i, (kind, failure) in enumerate(self._fail):
            if kind is task.spec.kind:
                del self._fail[i]
                if kind in self.gains:
                    take_snapshot(task)
                Store(task.store).failures.record(task.spec.key, failure)
                return failure
        if task.spec.kind not in self.loses:
            finish(task)
        return None


def finish(task: StageTask) -> None:
    """Leaves in the store what the stage would."""
    spec, store = task.spec, Store(task.store)
    if spec.kind is StageKind.RANKING:
        for number in range(len(store.rankings.rounds(spec.key)), spec.depth):
            store.rankings.publish(
                spec.key, RoundRecord(round=number, layer=_order(spec.inputs["gate_l1"])[number])
            )
        return
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
    numbers = dict.fromkeys(MeasurementRecord.model_fields, 1)
    record = {
        StageKind.TRANSFER: TransferRecord(layers=layers, seconds=1).model_dump(mode="json"),
        StageKind.PRUNE: checkpoint.model_dump(mode="json"),
        StageKind.EVALUATE: evaluation.model_dump(mode="json"),
        StageKind.DENSE: {
            "checkpoint": checkpoint.model_dump(),
            "evaluation": evaluation.model_dump(mode="json"),
            "seconds": 1,
        },
        StageKind.MEASURE: MeasurementRecord.model_validate(
            numbers | {"hardware": "cpu"}
        ).model_dump(mode="json"),
    }[spec.kind]
    with store.stages.staging(spec.key) as folder:
        (folder / "config.json").write_text("{}", encoding="utf-8")
        store.stages.commit(
            spec, record, folder if spec.kind in (StageKind.TRANSFER, StageKind.PRUNE) else None
        )


def take_snapshot(task: StageTask) -> None:
    """One step further than the last."""
    snapshots = StoreSnapshots(Store(task.store), task.spec.key, task.attempt)
    newest = snapshots.latest()
    snapshots.commit((newest.step if newest else 0) + 1, {}, {})


def _order(gate_l1: float | None) -> list[int]:
    """Two lambda_1 agree on the first two layers, as sets, and on nothing deeper."""
    return [8, 7, 6, 5, 4, 3, 2, 1] if gate_l1 == 1e-3 else [7, 8, 1, 2, 3, 4, 5, 6]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def controller_of(asked: Resolved, launcher: Launcher, clock: Clock | None = None) -> Controller:
    """A controller that believes no absence: what another one finished it sees at once."""
    store = Store(asked.grid.storage.store)
    made = Controller(asked, store, launcher, clock or Clock())
    made.results = StoreResults(store, recheck_s=0)
    return made


def drive(controller: Controller) -> GridView:
    """To the end, or AssertionError when it does not come."""
    for _ in range(MAX_STEPS):
        view = controller.step()
        if view.status in (Status.DONE, Status.FAILED):
            return view
    raise AssertionError(
        f"still {view.status} after {MAX_STEPS} steps: {[(c.stage, c.reason) for c in view.cells]}"
    )
