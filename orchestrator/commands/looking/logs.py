"""``trsp logs``: what a cell's stages have printed, or print now."""

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.app import LOOKING, app
from orchestrator.commands.looking.which import OptionalGrid, StoreOption, resolved_grid
from orchestrator.commands.options import AllowVariables

if TYPE_CHECKING:
    from orchestrator.stages.resolve import Resolved
    from orchestrator.store.store import Store
    from orchestrator.views.stages_named import NamedStage

Whose = Annotated[
    str,
    typer.Argument(
        metavar="CELL|STAGE",
        help="A cell, by a part of its name or its number (#3); dense, the unpruned model; or the "
        "beginning of a stage's key (transfer-1f3a).",
        show_default=False,
    ),
]
OfStage = Annotated[
    str, typer.Option(help="Only of this stage: rank, transfer, prune, evaluate, measure or dense.")
]
OfRank = Annotated[int, typer.Option(min=0, help="Of which of a stage's processes.")]
Everything = Annotated[bool, typer.Option("--all", help="Of every attempt, not the last only.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what comes.")]


@app.command(rich_help_panel=LOOKING)
def logs(
    whose: Whose,
    grid: OptionalGrid = None,
    store: StoreOption = None,
    stage: OfStage = "",
    rank: OfRank = 0,
    every_attempt: Everything = False,
    follow: Follow = False,
    allow_variable: AllowVariables = None,
) -> None:
    """Print the logs of a cell's stages, also of those that went well; of one process each."""
    from orchestrator.run import view_of
    from orchestrator.store.patience import in_words
    from orchestrator.store.store import Store
    from orchestrator.views.stages_named import find_stages

    resolved = resolved_grid(grid, store)
    stages = find_stages(view_of(resolved), whose, stage)
    with in_words(resolved.grid.storage.store):
        kept = Store(resolved.grid.storage.store)
        if follow:
            _follow(kept, resolved, whose, stages if len(stages) == 1 else (), rank)
        else:
            for each in stages:
                _print(kept, each, rank, every_attempt)


def _print(store: "Store", stage: "NamedStage", rank: int, every_attempt: bool) -> None:
    """Print the log of one rank of a stage: of its last attempt, or of all of them."""
    from orchestrator.report.looking.log_text import log_title, no_log
    from orchestrator.store.logs.stage_logs import attempt_logs, read_log

    logs = attempt_logs(store, stage.key)
    numbers = [number for number, log in enumerate(logs) if rank in log.ranks]
    if not numbers:
        print(no_log(stage, rank))
    for number in numbers if every_attempt else numbers[-1:]:
        print(log_title(stage, logs, number, rank))
        print(read_log(store, stage.key, logs[number].ranks[rank]).rstrip("\n"))


def _follow(
    store: "Store",
    resolved: "Resolved",
    whose: str,
    stages: "tuple[NamedStage, ...]",
    rank: int,
) -> None:
    """Print what a stage's rank prints; of a cell, one stage after another until it is settled."""
    from orchestrator.run import view_of
    from orchestrator.store.logs.following import follow
    from orchestrator.views.stages_named import current_stage

    followed: set[str] = set()
    while True:
        stage = stages[0] if stages else current_stage(view_of(resolved), whose)
        if stage is None or stage.key in followed:
            return
        followed.add(stage.key)
        print(f"== {stage.kind} of {stage.of}: {stage.key}", flush=True)
        for text in follow(store, stage.key, rank, time.sleep):
            sys.stdout.write(text)
            sys.stdout.flush()
