"""How the stages of one process end, each by itself: while the process goes on, and with it.

Knows what was said and returned, not how: no request is made here.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

from orchestrator.execution.apart.stage_process import Outcomes
from orchestrator.execution.launcher import Finished
from orchestrator.execution.stage_task import StageTask
from orchestrator.ray_backend.sharing.submitted import Submitted
from orchestrator.store.failures import Failure


def committed(attempt: Submitted) -> tuple[Finished, ...]:
    """Return the ends of the stages that are committed since, while their process goes on."""
    new = [task.spec.key for task in attempt.tasks if task.spec.key in attempt.begun.done]
    return tuple(_tell(attempt, new, {}))


def ended(
    attempt: Submitted, outcomes: Outcomes | None, lost: Callable[[StageTask], Failure]
) -> tuple[Finished, ...]:
    """Return the ends of all stages of a process that has ended, but for those told of before.

    ``outcomes``: what it returned; None where it is gone without a word, for which ``lost`` gives
    the failure of a stage.
    """
    begun = attempt.begun
    if outcomes is None:
        outcomes = outcomes_of_lost(attempt.tasks, begun.computed, begun.done, lost)
    outcomes = {**outcomes, **dict.fromkeys(begun.done)}
    return tuple(_tell(attempt, [task.spec.key for task in attempt.tasks], outcomes))


def outcomes_of_lost(
    tasks: Sequence[StageTask],
    computed: Collection[str],
    done: Collection[str],
    lost: Callable[[StageTask], Failure],
) -> Outcomes:
    """Return what became of the stages of a process that is gone without a word.

    It is the failure of the stage that computed last and is not committed, which ``lost`` gives.
    What else is not committed was not reached: it may have computed, but what it made went with the
    process. ``computed``, ``done``: the keys of the stages whose turn came, and of those committed.
    """
    left = [task for task in tasks if task.spec.key not in done]
    begun = [task for task in left if task.spec.key in computed]
    at_fault = (begun[-1:] or left[:1]) if left else []
    return {**dict.fromkeys(done), **{task.spec.key: lost(task) for task in at_fault}}


def _tell(attempt: Submitted, keys: list[str], outcomes: Outcomes) -> Iterator[Finished]:
    """Yield the ends of these stages, each once in the life of its process."""
    for key in keys:
        if key not in attempt.told:
            attempt.told.add(key)
            reached = key in outcomes or key in attempt.begun.done
            yield Finished(key, outcomes.get(key), reached)
