"""What Ray calls for each attempt at a stage, and how that has ended.

A stage of one rank computes in a process of its own beside Ray's, which holds what Ray has given,
hands on what is told, and serves one stage after another: nothing of a stage stays in it. Loads
torch for gangs alone.
"""

import os
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from orchestrator.execution.apart.lost_processes import ended_failure, lost_failure
from orchestrator.execution.apart.stage_process import (
    COMPUTES,
    DONE,
    PROGRESS,
    Outcomes,
    outcomes_of,
    preload,
    stage_call,
)
from orchestrator.execution.launcher import Finished
from orchestrator.execution.stage_task import StageTask
from orchestrator.processes.folder import present_folder
from orchestrator.processes.fresh import Processes
from orchestrator.ray_backend.lost_ranks import lost_rank_failure
from orchestrator.ray_backend.preemption import PreemptionNotice
from orchestrator.ray_backend.sharing.begun import Sign
from orchestrator.ray_backend.sharing.members import ended, outcomes_of_lost
from orchestrator.ray_backend.sharing.places import this_node
from orchestrator.ray_backend.sharing.submitted import Submitted
from orchestrator.ray_backend.sharing.telling import progress_of
from orchestrator.ray_backend.visible_gpus import hidden_gpus
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.failures import Failure, RankFailure

# Ray can be told to end whatever belongs to no worker of its own, and so a fork server.
_REAPS = "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper"
_processes = Processes(preload(), forks=os.environ.get(_REAPS, "0").lower() not in ("1", "true"))


def run_one_rank(task: StageTask, sign: Sign) -> Outcomes:
    """Run a stage in a process of its own, and those that follow it there.

    Returns what became of each that it came to: None on success, else the recorded failure.
    """
    sign.placed()
    node = this_node()
    said: dict[str, set[str]] = {COMPUTES: set(), DONE: set()}

    def told(message: Any) -> None:
        for what, key in message.items():
            if what == PROGRESS:
                progress.tell(*key)
                continue
            said[what].add(key)
            if what == DONE:
                sign.done(key)
            else:
                sign.computes(key if task.then else "")

    with progress_of(sign) as progress, PreemptionNotice().installed_meanwhile() as notice:
        call = stage_call(task, {**os.environ, **hidden_gpus()}, node)
        end = _processes.run(call, told, notice.leaving)
    if end.returned:
        return outcomes_of(end.result)
    tasks = task, *task.then
    lost = partial(ended_failure, ended=end, node=node)
    return outcomes_of_lost(tasks, said[COMPUTES], said[DONE], lost)


def run_several_ranks(task: StageTask, sign: Sign, selector: dict[str, str]) -> Failure | None:
    """Run a stage on several ranks, from this process. Returns None or the recorded failure.

    ``selector``: of the labels of nodes that they may run on.
    """
    present_folder()  # torch does not load in one that is gone
    from orchestrator.ray_backend.gang import run_gang  # loads torch

    return run_gang(task, sign, selector)


def forked_process_s() -> float:
    """Return the seconds until a process that was forked here, as a stage's is, has answered.

    OSError: none can be.
    """
    return _processes.forked_within_s({**os.environ, **hidden_gpus()})


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
    """Return the failure of a stage whose process of Ray's is gone, and remove what ranks left.

    It is that of the only rank or, for a gang, the one that saw to its ranks.
    """

    def told_by_ray(tail: str) -> RankFailure:
        return lost_rank_failure(0, error, tail)

    return lost_failure(task, told_by_ray, str(error))
