"""A stage on several ranks: Ray Train's TorchTrainer, run to its end within a Ray task. Loads torch: for workers only.

The trainer gives the processes, all or none, and their process group; it restarts nothing, for what a failure calls for
is the controller's to decide. It needs no storage: snapshots are ours.
"""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, get_context
from ray.train.torch import TorchConfig, TorchTrainer

from orchestrator.execution.run_stage import RankError, StageTask, run_rank
from orchestrator.execution.stage_task import rank_reports
from orchestrator.layouts.layout import Layout
from orchestrator.ray_backend.lost_ranks import lost_rank_failure
from orchestrator.ray_backend.preemption import PreemptionNotice
from orchestrator.store.diagnosis import failure_of, failure_of_ranks
from orchestrator.store.failures import Failure, FailureKind, RankFailure
from orchestrator.store.rank_reports import RankReport
from orchestrator.store.store import Store

WATCHDOG_HEAD_START_S = (
    30.0  # before collectives and the trainer give up: it can say where a rank hangs
)
START_TIMEOUT_S = 15.0  # a gang that does not fit yet is asked for again so often, and can be cancelled in between
START_ATTEMPTS = 240
SETTINGS: Mapping[str, str] = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(START_TIMEOUT_S),
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # see orchestrator.preemption
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # what ranks print goes to the stage's record
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def run_gang(task: StageTask) -> Failure | None:
    """Run one stage to its commit on all its ranks. An error of any becomes one recorded failure of all.

    Blocks for as long as they run. Cancelling the task that this runs in ends them all.
    """
    os.environ.update(SETTINGS)
    os.environ["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] = str(
        task.hang_timeout_s + WATCHDOG_HEAD_START_S
    )
    reports = rank_reports(task)
    try:
        with tempfile.TemporaryDirectory(prefix="trsp-gang-") as folder:
            _trainer(task, folder).fit()
        return None
    except (
        KeyboardInterrupt,
        SystemExit,
    ):  # ray.cancel, before and after the trainer has put its handler in place
        return Failure("TaskCancelledError", "cancelled", FailureKind.LOST, when=time.time())
    except (TrainingFailedError, RayError) as error:
        failure = _failure(task, reports, error)
        with suppress(OSError):  # a full store: whoever started us has the failure, too
            Store(task.store).failures.record(task.spec.key, failure)
        return failure
    finally:
        for report in reports:
            report.remove()


def _trainer(task: StageTask, folder: str) -> TorchTrainer:
    return TorchTrainer(
        _rank_main,
        train_loop_config={"task": task},
        torch_config=GangConfig(timeout_s=int(task.hang_timeout_s + WATCHDOG_HEAD_START_S)),
        scaling_config=ScalingConfig(
            num_workers=task.layout.ranks,
            use_gpu=task.layout.gpus > 0,
            resources_per_worker=resources(task.layout),
            placement_strategy="PACK",
        ),
        run_config=RunConfig(
            name="gang",
            storage_path=folder,
            failure_config=FailureConfig(
                max_failures=0, controller_failure_limit=START_ATTEMPTS, max_preemption_failures=0
            ),
        ),
    )


def resources(layout: Layout) -> dict[str, float]:
    """Of one rank, as Ray names them."""
    asked = {"CPU": layout.cpus, "GPU": layout.gpus, "memory": layout.memory_bytes}
    return {name: float(amount) for name, amount in asked.items() if amount}


# --- in each rank ---------------------------------------------------------------------------------------------------------

_notices: list[PreemptionNotice] = []  # this process's, once it is a rank's


def _prepare() -> None:
    """In the main thread of a rank's process; the stage runs in another."""
    notice = PreemptionNotice()
    notice.install()
    _notices.append(notice)


def _rank_main(config: dict[str, Any]) -> None:
    (notice,) = _notices
    try:
        run_rank(config["task"], get_context().get_world_rank(), notice.leaving)
    finally:
        notice.over()


class GangBackend(TorchConfig().backend_cls):  # type: ignore[misc]
    """Torch's process group, of the back end that the ranks' devices ask for, and SIGTERM as a notice."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(_prepare)
        super().on_start(worker_group, backend_config)


class GangConfig(TorchConfig):  # type: ignore[misc]
    @property
    def backend_cls(self) -> type:
        return GangBackend


# --- what they said -------------------------------------------------------------------------------------------------------


def _failure(task: StageTask, reports: Sequence[RankReport], error: Exception) -> Failure:
    """Of what the ranks said or, where the gang never came to be, of why."""
    layout = task.layout.to_json()
    errors = getattr(error, "worker_failures", {})
    said = [
        failed
        for rank, report in enumerate(reports)
        if (failed := _said(rank, errors.get(rank), report))
    ]
    if said:
        return failure_of_ranks(said, layout=layout)
    return failure_of(getattr(error, "controller_failure", error), str(error), layout)


def _said(rank: int, error: Exception | None, report: RankReport) -> RankFailure | None:
    """None of a rank of which nothing bad is known: it was ended because of the others."""
    if isinstance(error, RankError):
        return error.said
    if (recorded := report.failure()) is not None:
        return recorded
    return None if error is None else lost_rank_failure(rank, error, report.tail())
