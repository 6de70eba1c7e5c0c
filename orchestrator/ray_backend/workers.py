"""What Ray calls in a process of its own for each attempt at a stage, and how that has ended.

Loads torch for gangs alone.
"""

import time
from contextlib import suppress
from functools import partial

import ray
from ray.exceptions import RayError, RayTaskError

from orchestrator.execution.chain import run_chain
from orchestrator.execution.launcher import Finished
from orchestrator.execution.run_stage import run_task
from orchestrator.execution.stage_task import StageTask, rank_reports
from orchestrator.ray_backend.lost_ranks import lost_rank_failure
from orchestrator.ray_backend.preemption import PreemptionNotice
from orchestrator.ray_backend.sharing.begun import Sign
from orchestrator.ray_backend.sharing.members import Outcomes, ended
from orchestrator.ray_backend.sharing.places import this_node
from orchestrator.ray_backend.sharing.submitted import Submitted
from orchestrator.ray_backend.visible_gpus import hide_gpus_of_others
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.failures import Failure
from orchestrator.store.rank_reports import RankReport


def run_one_rank(task: StageTask, sign: Sign) -> Outcomes:
    """Run a stage in this process, and those that follow it there.

    Returns what became of each that it came to: None on success, else the failure, which is
    recorded.
    """
    sign.placed()
    hide_gpus_of_others()
    notice = PreemptionNotice()
    notice.install()
    try:
        if task.then:
            return run_chain(task, notice.leaving, sign.computes, sign.done, this_node())
        return {task.spec.key: run_task(task, notice.leaving, sign.computes, this_node())}
    finally:
        notice.over()


def run_several_ranks(task: StageTask, sign: Sign, selector: dict[str, str]) -> Failure | None:
    """Run a stage on several ranks, from this process. Returns None or the recorded failure.

    ``selector``: of the labels of nodes that they may run on.
    """
    from orchestrator.ray_backend.gang import run_gang  # loads torch

    return run_gang(task, sign, selector)


# --- how it ended, for whoever has started it ----------------------------------


def outcome(attempt: Submitted) -> tuple[Finished, ...]:
    """Return how the stages of an attempt ended, those that were told of before left out.

    That is what its process returned, or what is known of a process or node that was lost.
    """
    try:
        returned = ray.get(attempt.reference)
    except RayTaskError as error:
        cause, text = error.cause or error, str(error)
        return ended(attempt, None, lambda task: failure_of(cause, text, task.layout.to_json()))
    except RayError as error:
        return ended(attempt, None, partial(_lost_process_failure, error))
    outcomes = returned if isinstance(returned, dict) else {attempt.task.spec.key: returned}
    return ended(attempt, outcomes, lambda task: outcomes[task.spec.key])


def _lost_process_failure(error: RayError, task: StageTask) -> Failure:
    """Return the failure of a stage whose process is gone, and remove what its ranks left.

    The process is that of the only rank or, for a gang, the one that saw to its ranks.
    """
    reports: list[RankReport] = []
    with suppress(OSError):  # a store that is away does not keep an end from us
        reports = rank_reports(task)
    said = reports[0].failure() if reports else None
    rank_failure = said or lost_rank_failure(0, error, reports[0].tail() if reports else "")
    for report in reports:
        report.remove()
    return Failure(
        rank_failure.error,
        rank_failure.message,
        rank_failure.kind,
        rank_failure.tail or str(error),
        time.time(),
        layout=task.layout.to_json(),
    )
