"""A stage on several ranks: Ray Train's TorchTrainer, run to its end within a Ray task.

It loads torch: for workers only. The trainer gives the processes, all or none, and their process
group; it restarts nothing, for what a failure calls for is the controller's to decide. It needs no
storage: snapshots are ours.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, get_context
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from orchestrator.execution.run_stage import RankError, StageTask, run_rank
from orchestrator.execution.stage_task import rank_reports
from orchestrator.layouts.layout import Layout
from orchestrator.ray_backend.lost_ranks import lost_rank_failure
from orchestrator.ray_backend.preemption import PreemptionNotice
from orchestrator.ray_backend.sharing.begun import Sign
from orchestrator.ray_backend.sharing.places import this_node
from orchestrator.ray_backend.sharing.telling import progress_of
from orchestrator.ray_backend.visible_gpus import hide_gpus_of_others
from orchestrator.scratch import remove_left_folders, scratch_folder
from orchestrator.store.diagnosis import failure_of, failure_of_ranks
from orchestrator.store.failures import Failure, FailureKind, RankFailure
from orchestrator.store.rank_reports import RankReport
from orchestrator.store.store import Store

# The watchdog ends a rank so long before collectives and the trainer give up: it can say where the
# rank hangs.
WATCHDOG_HEAD_START_S = 30.0
# A gang that does not fit yet is asked for again so often, for ever, and can be cancelled in
# between. Processes that cannot be started although there is room are given up after so many times.
START_TIMEOUT_S = 15.0
START_ATTEMPTS = 240
SETTINGS: Mapping[str, str] = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(START_TIMEOUT_S),
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # PreemptionNotice does its work
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # what ranks print goes to the stage's record
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def run_gang(
    task: StageTask, sign: Sign, selector: Mapping[str, str] | None = None
) -> Failure | None:
    """Run one stage on all its ranks, to its commit.

    Returns None on success. Whatever goes wrong on any rank becomes one failure of all, which is
    recorded in the store, as far as that can be written, and returned. Blocks for as long as the
    ranks run, and before that for as long as there is no room for them all. Cancelling the task
    that this runs in ends them all. ``sign`` is what they tell the driver by.
    ``selector``: of the labels of nodes that they may run on.
    """
    os.environ.update(SETTINGS)
    health_check_timeout_s = task.hang_timeout_s + WATCHDOG_HEAD_START_S
    os.environ["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] = str(health_check_timeout_s)
    reports = rank_reports(task)
    try:
        remove_left_folders()
        with scratch_folder("gang") as folder:
            fit_when_there_is_room(lambda: _trainer(task, sign, str(folder), selector).fit())
        return None
    except (KeyboardInterrupt, SystemExit):
        # From ray.cancel, before and after the trainer has put its handler in place.
        return Failure("TaskCancelledError", "cancelled", FailureKind.LOST, when=time.time())
    except (TrainingFailedError, RayError) as error:
        failure = _gang_failure(task, reports, error)
        with suppress(OSError):  # a full store: whoever started us has the failure, too
            Store(task.store).failures.record(task.spec.key, failure)
        return failure
    finally:
        for report in reports:
            report.remove()


def fit_when_there_is_room(fit: Callable[[], object]) -> None:
    """Call ``fit`` again and again while all that it fails of is that there is no room."""
    while True:
        try:
            fit()
            return
        except TrainingFailedError as error:
            cause = getattr(error, "controller_failure", None)
            if not isinstance(cause, WorkerGroupStartupTimeoutError):
                raise


def _trainer(
    task: StageTask, sign: Sign, folder: str, selector: Mapping[str, str] | None
) -> TorchTrainer:
    """The trainer of one attempt at a stage; ``folder`` is for what it insists on writing."""
    limit_s = int(task.hang_timeout_s + WATCHDOG_HEAD_START_S)
    config = {"task": task, "sign": sign}
    return gang_trainer(_rank_main, config, task.layout, limit_s, folder, selector=selector)


def gang_trainer(
    rank_main: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    layout: Layout,
    collective_limit_s: int,
    folder: str,
    placement: str = "PACK",
    selector: Mapping[str, str] | None = None,
) -> TorchTrainer:
    """The trainer that calls ``rank_main(config)`` in every rank of a gang of this layout.

    ``placement``: PACK for as few nodes as possible, SPREAD for as many.
    ``selector``: of the labels of nodes that ranks may run on; default: any.
    """
    return TorchTrainer(
        rank_main,
        train_loop_config=config,
        torch_config=GangConfig(timeout_s=collective_limit_s),
        scaling_config=ScalingConfig(
            num_workers=layout.ranks,
            use_gpu=layout.gpus > 0,
            resources_per_worker=layout.amounts,
            placement_strategy=placement,
            label_selector=dict(selector) if selector else None,
        ),
        run_config=RunConfig(
            name="gang",
            storage_path=folder,
            failure_config=FailureConfig(
                max_failures=0, controller_failure_limit=START_ATTEMPTS, max_preemption_failures=0
            ),
        ),
    )


# --- in each rank -------------------------------------------------------------


def _prepare() -> None:
    """Make SIGTERM a notice, and hide GPUs that are not ours.

    Runs in the main thread of a rank's process; its stage, in another.
    """
    hide_gpus_of_others()
    PreemptionNotice().install()


def _rank_main(config: dict[str, Any]) -> None:
    """Run this process's rank of the stage ``config["task"]``. RankError when it fails."""
    sign, rank = config["sign"], get_context().get_world_rank()
    sign.placed(rank)
    notice = PreemptionNotice.installed()
    task, key = config["task"], config["task"].spec.key
    try:
        with progress_of(sign) as progress:
            tells = partial(progress.tell, key)
            run_rank(task, rank, notice.leaving, sign.computes, this_node(), tells)
    finally:
        notice.over()


class GangBackend(TorchConfig().backend_cls):  # type: ignore[misc]
    """Torch's process group, by what the ranks' devices ask for, and SIGTERM as a notice."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Prepare every rank's process; Ray Train calls it before any of them begins its stage."""
        worker_group.execute(_prepare)
        super().on_start(worker_group, backend_config)


class GangConfig(TorchConfig):  # type: ignore[misc]
    """The settings of torch's process group, by which Ray Train takes our back end for it."""

    @property
    def backend_cls(self) -> type:
        """The class of the back end that starts the ranks."""
        return GangBackend


# --- how they failed ----------------------------------------------------------


def _gang_failure(task: StageTask, reports: Sequence[RankReport], error: Exception) -> Failure:
    """Return the one failure of what the ranks failed with.

    Where the gang never came to be, it says why.
    """
    layout = task.layout.to_json()
    errors = getattr(error, "worker_failures", {})
    failures = [
        _rank_failure(rank, errors.get(rank), report) for rank, report in enumerate(reports)
    ]
    known = [failure for failure in failures if failure is not None]
    if known:
        return failure_of_ranks(known, layout=layout)
    return failure_of(getattr(error, "controller_failure", error), str(error), layout)


def _rank_failure(rank: int, error: Exception | None, report: RankReport) -> RankFailure | None:
    """Return what one rank failed with, by its own account or else by Ray's ``error``.

    None for a rank of which nothing bad is known: it was ended because of the others.
    """
    if isinstance(error, RankError):
        return error.failure
    recorded = report.failure()
    if recorded is not None:
        return recorded
    if error is None:
        return None
    return lost_rank_failure(rank, error, report.tail())
