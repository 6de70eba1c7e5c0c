"""``trsp export``: a cell's checkpoint for others: a folder, a GGUF file, a hub's repository."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.app import KEEPING, app
from orchestrator.commands.looking.which import OptionalGrid, StoreOption, resolved_grid
from orchestrator.commands.options import AllowVariables
from orchestrator.report.printing import console, print_line
from trsp.errors import InvalidInputError

Cell = Annotated[
    str,
    typer.Argument(
        metavar="CELL",
        help="A cell, by a part of its name or its number (#3).",
        show_default=False,
    ),
]
To = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="A new folder for weights, tokenizer and card.", show_default=False
    ),
]
Gguf = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A new GGUF file (llama, mistral, qwen2, qwen3; bf16, f16 or f32 as stored). "
        "transformers reads it back to the same logits; llama.cpp itself was not run on it.",
        show_default=False,
    ),
]
Push = Annotated[
    str | None,
    typer.Option(
        metavar="USER/NAME",
        help="A repository of the Hugging Face hub, made if need be; needs the network and "
        "HF_TOKEN.",
        show_default=False,
    ),
]
Public = Annotated[
    bool, typer.Option("--public", help="Let everybody see a repository that --push makes.")
]


@app.command(rich_help_panel=KEEPING)
def export(
    cell: Cell,
    grid: OptionalGrid = None,
    store: StoreOption = None,
    to: To = None,
    gguf: Gguf = None,
    push: Push = None,
    public: Public = False,
    allow_variable: AllowVariables = None,
) -> None:
    """Hand a cell's checkpoint on: as a folder of its own, a GGUF file, or to a hub."""
    if sum(place is not None for place in (to, gguf, push)) != 1:
        raise InvalidInputError("export takes one of --to FOLDER, --gguf FILE and --push USER/NAME")
    from orchestrator.export.checkpoint import checkpoint_of
    from orchestrator.export.to_folder import copy_to
    from orchestrator.export.to_gguf import write_to
    from orchestrator.export.to_hub import push as push_to
    from orchestrator.report.cost.amounts import bytes_text
    from orchestrator.run import view_of
    from orchestrator.store.patience import in_words
    from orchestrator.store.store import Store

    resolved = resolved_grid(grid, store)
    uri = resolved.grid.storage.store
    with in_words(uri), checkpoint_of(Store(uri), view_of(resolved), cell) as found:
        if to is not None:
            size_bytes = copy_to(found, to.expanduser())
            said = f"{to} ({bytes_text(size_bytes)})"
        elif gguf is not None:
            said = f"{gguf} ({bytes_text(write_to(found, gguf.expanduser()))})"
        else:
            said = push_to(found, push or "", public)
    print_line(console(), f"{found.cell.cell.name}: {said}")
