"""Writes the reference of the commands, by typer's own writer of Markdown."""

from collections.abc import Iterator
from html import unescape

import typer
from typer.cli import get_docs_for_click
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

import orchestrator.cli  # noqa: F401, it adds every command
from orchestrator.commands.app import app

HEAD = """# Every command

`trsp COMMAND --help` says the same in a terminal. A grid file in a command's place means
`trsp run FILE`, which is how executable grid files work. Exit codes: 0 done; 1 a stage or the
program itself failed; 2 what was asked for cannot be done; 3 nothing meets the budget.

This page is written by `python -m docs.write_reference`, from the commands themselves.
"""


def commands_page() -> str:
    """Return the page, as Markdown: the commands under the headings of ``trsp --help``."""
    group = _group()
    context = typer.Context(group, info_name="trsp")
    pages = [
        unescape(get_docs_for_click(obj=command, ctx=context, indent=1, call_prefix="trsp"))
        for command in group.commands.values()
    ]
    return "\n".join([HEAD, *_contents(), "", "".join(pages).rstrip(), ""])


def _contents() -> Iterator[str]:
    """Yield a table of the commands, with the first sentence of each."""
    panel = ""
    for name, command in _group().commands.items():
        assert isinstance(command, TyperCommand)
        if command.rich_help_panel != panel:
            panel = command.rich_help_panel or ""
            yield from ("", f"| {panel} | |", "|---|---|")
        summary = (command.help or "").split("\n\n")[0].replace("\n", " ")
        yield f"| [`trsp {name}`](#trsp-{name}) | {summary} |"


def _group() -> TyperGroup:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return group
