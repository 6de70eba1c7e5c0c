"""What Ray calls in a process of its own for each attempt at a stage; torch for gangs alone."""

from orchestrator.execution.run_stage import run_task
from orchestrator.execution.stage_task import StageTask
from orchestrator.ray_backend.preemption import PreemptionNotice
from orchestrator.ray_backend.sharing.begun import Sign
from orchestrator.ray_backend.visible_gpus import hide_gpus_of_others
from orchestrator.store.failures import Failure


def run_one_rank(task: StageTask, sign: Sign) -> Failure | None:
    """Run a stage in this process. Returns None on success, else the failure, which is recorded."""
    sign.placed()
    hide_gpus_of_others()
    notice = PreemptionNotice()
    notice.install()
    try:
        return run_task(task, notice.leaving, sign.computes)
    finally:
        notice.over()


def run_several_ranks(task: StageTask, sign: Sign) -> Failure | None:
    """Run a stage on several ranks, from this process. Returns None or the recorded failure."""
    from orchestrator.ray_backend.gang import run_gang  # loads torch

    return run_gang(task, sign)
