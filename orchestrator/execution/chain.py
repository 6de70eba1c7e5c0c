"""Stages of one cell that follow one another in one process. Knows no cluster."""

from collections.abc import Callable, Mapping
from functools import partial

from orchestrator.execution.run_stage import run_task
from orchestrator.execution.stage_task import StageTask
from orchestrator.store.failures import NOWHERE, Failure, Node


def run_chain(
    task: StageTask,
    leaving: Callable[[], bool],
    computes: Callable[[str], None],
    done: Callable[[str], None],
    node: Node = NOWHERE,
) -> Mapping[str, Failure | None]:
    """Run a stage and those in ``task.then``, each to its commit, in this process alone.

    Returns what became of each, by the stage's key: None on success, else the failure, which is
    recorded. What follows a stage that failed is left out. ``computes`` is called with the key of
    each stage once it has its device, ``done`` once it is committed.
    """
    outcomes: dict[str, Failure | None] = {}
    for each in (task, *task.then):
        key = each.spec.key
        outcomes[key] = run_task(each, leaving, partial(computes, key), node)
        if outcomes[key] is not None:
            break
        done(key)
    return outcomes
