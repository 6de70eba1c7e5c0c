"""``trsp list``: the grids of a store."""

import json

from orchestrator.commands.app import LOOKING, app
from orchestrator.commands.looking.which import StoreOf, StoreOption, store_address
from orchestrator.commands.options import AllowVariables, AsJson
from orchestrator.redact import redact_tree
from orchestrator.report.printing import console


@app.command(name="list", rich_help_panel=LOOKING)
def list_grids(
    file: StoreOf = None,
    store: StoreOption = None,
    as_json: AsJson = False,
    allow_variable: AllowVariables = None,
) -> None:
    """List the grids of a store: who ran them, when, how far they are, and which run now."""
    from orchestrator.kept_grids.listing import listed
    from orchestrator.report.looking.grid_list import print_grids

    uri = store_address(file, store)
    grids = listed(uri)
    if as_json:
        print(json.dumps(redact_tree([each.as_dict() for each in grids]), indent=2))
    else:
        print_grids(grids, uri, console())
