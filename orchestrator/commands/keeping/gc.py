"""``trsp gc``: what a store holds and costs, and removing what nobody needs."""

import json
import re
from typing import Annotated

import typer

from orchestrator.commands.app import KEEPING, app
from orchestrator.commands.looking.which import StoreOf, StoreOption, store_address
from orchestrator.commands.options import AllowVariables, AsJson
from orchestrator.redact import redact_tree
from orchestrator.report.printing import console, print_line
from trsp.errors import InvalidInputError

_AGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([hdw])\s*")
_SECONDS = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say it only; nothing is removed.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Remove without a question.")]
OlderThan = Annotated[
    str, typer.Option(help="Only what was written last so long ago: 12h, 30d, 2w; at least 1h.")
]
Forget = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GRID",
        help="Keep this grid no more, by its name or key: what only it needs goes, too. May be "
        "given several times.",
        show_default=False,
    ),
]
Tracking = Annotated[
    list[str] | None,
    typer.Option(
        metavar="URI",
        help="MLflow whose aliases protect checkpoints; default: that of each kept grid.",
        show_default=False,
    ),
]


@app.command(rich_help_panel=KEEPING)
def gc(
    file: StoreOf = None,
    store: StoreOption = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    older_than: OlderThan = "1h",
    forget: Forget = None,
    tracking: Tracking = None,
    as_json: AsJson = False,
    allow_variable: AllowVariables = None,
) -> None:
    """Say what a store holds, and remove what no kept grid, no alias and no driver needs."""
    from orchestrator.keeping.clean import clean
    from orchestrator.keeping.survey import Asked, survey
    from orchestrator.report.keeping.gc_json import survey_dict
    from orchestrator.report.keeping.gc_text import print_survey, swept_lines
    from orchestrator.store.patience import in_words
    from orchestrator.store.store import Store

    uri = store_address(file, store)
    asked = Asked(seconds(older_than), tuple(forget or ()), tuple(tracking or ()))
    with in_words(uri):
        found = survey(Store(uri), asked)
        if as_json:
            print(json.dumps(redact_tree(survey_dict(found)), indent=2))
        else:
            print_survey(found, console())
        if dry_run or not (found.decision.removals or found.forgotten):
            return
        if yes or typer.confirm("remove this?", err=as_json):
            for line in swept_lines(clean(Store(uri), asked, found)):
                print_line(console(stderr=as_json), line)


def seconds(age: str) -> float:
    """Return an age such as ``12h``, ``30d`` or ``2w`` in seconds; InvalidInputError for others."""
    if match := _AGE.fullmatch(age):
        return float(match[1]) * _SECONDS[match[2]]
    raise InvalidInputError(f"--older-than {age!r} is no age; give one such as 12h, 30d or 2w")
