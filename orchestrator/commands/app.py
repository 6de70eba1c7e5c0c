"""The command line itself, which every command is added to, and the exit codes.

0 done, 1 a stage or we ourselves failed, 2 what was asked for cannot be done (bad input), 3 nothing
meets the budget, 130 Ctrl-C.
"""

from typing import Annotated

import typer

from trsp.versions import own_version

FAILED, BAD_INPUT, NOTHING_WITHIN_BUDGET, INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Structured pruning of language models by grids: what is wanted in, "
    "the best checkpoint under a budget out.",
)

RUNNING = "Run grids"  # the help's headings
LOOKING = "See what came of them"
KEEPING = "Checkpoints and stores"


def _show_version(wanted: bool) -> None:
    """Print the version and end, if it was asked for."""
    if wanted:
        print(f"trsp {own_version()}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
]


@app.callback()
def _options(version: Version = False) -> None:
    """Take the options that stand before any command."""


def command_names() -> list[str]:
    """Return the name of every command."""
    return [
        command.name or command.callback.__name__
        for command in app.registered_commands
        if command.callback
    ]
