"""``trsp logs`` as text for people: the line above what a stage's rank has printed."""

from orchestrator.kept_grids.shelf import day_and_time
from orchestrator.store.logs.stage_logs import AttemptLog
from orchestrator.views.stages_named import NamedStage


def log_title(stage: NamedStage, logs: tuple[AttemptLog, ...], number: int, rank: int) -> str:
    """Return the line above the log of one attempt, the ``number``-th of ``logs``, from 0.

    ``== transfer of opt-350m r=0.1 gates: transfer-1f3a..., attempt 2 of 2, rank 0 of 4``
    """
    log = logs[number]
    when = "" if log.runs or not log.began else f", {day_and_time(log.began)}"
    ranks = f", rank {rank} of {len(log.ranks)}" if len(log.ranks) > 1 else ""
    attempt = f", attempt {number + 1} of {len(logs)}" if len(logs) > 1 else ""
    return f"== {stage.kind} of {stage.of}: {stage.key}{attempt}{ranks}{when}"


def no_log(stage: NamedStage, rank: int) -> str:
    """Return what is said of a stage of which there is no log."""
    of_rank = f" of rank {rank}" if rank else ""
    return (
        f"== {stage.kind} of {stage.of}: no log{of_rank} is kept of {stage.key}; it has not begun, "
        "or a version of trsp computed it that kept none"
    )
