"""``trsp doctor``: what is wrong with a cluster, and the cure."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.app import RUNNING, app
from orchestrator.commands.options import Address, AllowVariables, AsJson
from orchestrator.doctor.findings.finding import exit_code
from orchestrator.grid.schema import load_grid
from orchestrator.report.examination_table import print_examination
from orchestrator.report.printing import console, print_line


@app.command(rich_help_panel=RUNNING)
def doctor(
    file: Annotated[Path | None, typer.Argument(help="A grid file; default: none.")] = None,
    address: Address = None,
    as_json: AsJson = False,
    allow_variable: AllowVariables = None,
) -> None:
    """Examine cluster, store and tracking server, in two minutes: what is wrong, and the cure."""
    from orchestrator.doctor.examine import examine

    grid = load_grid(file) if file else None
    found = examine(grid, address, partial(print_line, console(stderr=True)))
    if as_json:
        print(json.dumps([finding.as_dict() for finding in found.findings], indent=2))
    else:
        print_examination(found.findings, found.nodes, found.seconds, console())
    raise typer.Exit(exit_code(found.findings))
