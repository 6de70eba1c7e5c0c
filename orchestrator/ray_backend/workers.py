"""What Ray calls for each attempt at a stage, and how that has ended.

A stage of one rank computes in a process of its own beside Ray's, which holds what Ray has given,
hands on what is told, and serves one stage after another: nothing of a stage stays in it. Loads
torch for gangs alone.
"""

import os
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from orchestrator.execution.apart.lost_processes import ended_failure, lost_failure
from orchestrator.execution.apart.stage_process import COMPUTES, outcomes_of, preload, stage_call
from orchestrator.execution.stage_task import StageTask
from orchestrator.processes.fresh import Processes
from orchestrator.ray_backend.lost_ranks import lost_rank_failure
from orchestrator.ray_backend.preemption import PreemptionNotice
from orchestrator.ray_backend.sharing.begun import Sign
from orchestrator.ray_backend.sharing.places import this_node
from orchestrator.ray_backend.visible_gpus import hidden_gpus
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.failures import Failure, RankFailure

_processes = Processes(preload())


def run_one_rank(task: StageTask, sign: Sign) -> Failure | None:
    """Run a stage in a process of its own. Returns None on success, else the recorded failure."""
    sign.placed()
    node = this_node()

    def told(message: Any) -> None:
        if COMPUTES in message:
            sign.computes()

    with PreemptionNotice().installed_meanwhile() as notice:
        call = stage_call(task, {**os.environ, **hidden_gpus()}, node)
        ended = _processes.run(call, told, notice.leaving)
    if ended.returned:
        return outcomes_of(ended.result)[task.spec.key]
    return ended_failure(task, ended, node)


def run_several_ranks(task: StageTask, sign: Sign, selector: dict[str, str]) -> Failure | None:
    """Run a stage on several ranks, from this process. Returns None or the recorded failure.

    ``selector``: of the labels of nodes that they may run on.
    """
    from orchestrator.ray_backend.gang import run_gang  # loads torch

    return run_gang(task, sign, selector)


# --- how it ended, for whoever has started it ----------------------------------


def outcome(reference: Any, task: StageTask) -> Failure | None:
    """Return what the task returned; or what is known of a process or node that was lost."""
    try:
        failure: Failure | None = ray.get(reference)
        return failure
    except RayTaskError as error:
        return failure_of(error.cause or error, str(error), task.layout.to_json())
    except RayError as error:
        return _lost_process_failure(task, error)


def _lost_process_failure(task: StageTask, error: RayError) -> Failure:
    """Return the failure of a stage whose process of Ray's is gone, and remove what ranks left.

    It is that of the only rank or, for a gang, the one that saw to its ranks.
    """

    def told_by_ray(tail: str) -> RankFailure:
        return lost_rank_failure(0, error, tail)

    return lost_failure(task, told_by_ray, str(error))
