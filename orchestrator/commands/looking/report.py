"""``trsp report``: a grid as one page, for people who were not there."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.app import LOOKING, app
from orchestrator.commands.looking.which import StoreOption, WhichGrid, resolved_grid
from orchestrator.commands.options import AllowVariables
from orchestrator.report.printing import console, print_line
from trsp.errors import InvalidInputError

Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Where to; default: report.html (report.md).", show_default=False
    ),
]


@app.command(rich_help_panel=LOOKING)
def report(
    grid: WhichGrid,
    store: StoreOption = None,
    out: Out = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Markdown, without pictures.")
    ] = False,
    allow_variable: AllowVariables = None,
) -> None:
    """Write a grid as one page that loads nothing: answers, pictures, cells, failures, origins.

    Also while it runs, and of a grid that failed half-way: with what the store holds by then.
    """
    from orchestrator.report.page.contents import contents
    from orchestrator.report.page.render import html_page, markdown_page, now
    from orchestrator.run import view_of

    said = contents(view_of(resolved_grid(grid, store)))
    page = markdown_page(said, now()) if markdown else html_page(said, now())
    path = out or Path("report.md" if markdown else "report.html")
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(
            f"the report cannot be written to {path}: {error.strerror}; give --out another file"
        ) from None
    print_line(console(), f"report: {path.absolute()}")
