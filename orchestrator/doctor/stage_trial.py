"""One tiny model through all stages on one node, by the launcher that runs users' grids."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.execution.launcher import Finished, Launcher
from orchestrator.execution.stage_task import StageTask
from orchestrator.layouts.layout import Layout
from orchestrator.stages.next_stages import next_stages
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store
from trsp.config import EngineSettings

_POLL_S = 0.2


@dataclass
class StageTrial:
    """How far the tiny model has come: seconds by stage, and the stage that failed, if any did."""

    seconds: dict[str, float] = field(default_factory=dict)
    failed: str = ""
    error: str = ""


def run_trial(
    resolved: Resolved,
    launcher: Launcher,
    gpus: int,
    trial: StageTrial,
    given_up: Callable[[], bool],
) -> None:
    """Run the stages of the grid's only cell one after the other, noting in ``trial``.

    It ends at the first failure: nothing is tried again, for what fails once is to be known. Ends
    early, with what ran cancelled, once ``given_up`` says so.
    """
    store = Store(resolved.grid.storage.store)
    layout = Layout(gpus=gpus, engine=EngineSettings(zero_stage=0))
    last = ""
    while (spec := _next(resolved, store)) and not given_up():
        if spec.key == last:
            trial.failed, trial.error = spec.kind, "it ended well, but the store has no result"
            return
        last, begun = spec.key, time.monotonic()
        trial.failed = spec.kind  # until it has ended well
        launcher.start(StageTask(spec, store.uri, layout))
        finished = _wait(launcher, spec, given_up)
        if finished is None:
            return
        if finished.failure is not None:
            trial.error = f"{finished.failure.error}: {finished.failure.message}"
            return
        trial.seconds[spec.kind], trial.failed = time.monotonic() - begun, ""


def _next(resolved: Resolved, store: Store) -> StageSpec | None:
    """Return the stage that the cell needs next; None where it has all. No reference is made."""
    stages = next_stages(resolved, StoreResults(store))
    of_cell = (spec for spec in stages if spec.kind is not StageKind.DENSE)
    return next((spec for spec in of_cell if not _of_dense(spec)), None)


def _of_dense(spec: StageSpec) -> bool:
    """Whether the stage measures the unpruned model."""
    return spec.kind is StageKind.MEASURE and not spec.reads


def _wait(launcher: Launcher, spec: StageSpec, given_up: Callable[[], bool]) -> Finished | None:
    """Return how the stage ended; None where it was given up, and cancelled."""
    while not given_up():
        for finished in launcher.poll(_POLL_S):
            return finished
    launcher.cancel(spec.key)
    return None
