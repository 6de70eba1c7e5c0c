"""``trsp init``: a first grid file, for one's own model or of an example that ships."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.app import RUNNING, app
from orchestrator.first_grid.examples import example, example_names
from orchestrator.report.printing import console, print_line
from trsp.errors import InvalidInputError

if TYPE_CHECKING:
    from orchestrator.first_grid.compose import Wanted


Model = Annotated[
    str | None, typer.Argument(help="A model's folder or hub id.", show_default=False)
]
Text = Annotated[
    Path | None,
    typer.Option(help="What is learned from: .jsonl, .parquet or .txt.", show_default=False),
]
HeldOut = Annotated[
    Path | None,
    typer.Option(help="What is scored on; default: a part of --text.", show_default=False),
]
Column = Annotated[
    str | None, typer.Option(help="Of both texts; default: the only one.", show_default=False)
]
MaxParams = Annotated[
    list[str] | None, typer.Option(help="A budget, for example 110M; may be given several times.")
]
MaxBytes = Annotated[list[str] | None, typer.Option(help="A budget of weights, for example 250MB.")]
MaxKvBytes = Annotated[
    list[str] | None, typer.Option(help="A budget of keys and values, for example 9kB.")
]
Hours = Annotated[
    float, typer.Option(min=0.0, help="What a run may take here, about: sizes are chosen so.")
]
Out = Annotated[Path | None, typer.Option(help="Default: grid.yaml, or the example's name.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
Example = Annotated[
    str | None,
    typer.Option(
        "--example",
        metavar="NAME",
        help="Write an example instead: demo, grid, paper or 70b.",
        autocompletion=example_names,
    ),
]


@app.command(rich_help_panel=RUNNING)
def init(
    model: Model = None,
    text: Text = None,
    held_out: HeldOut = None,
    column: Column = None,
    max_params: MaxParams = None,
    max_bytes: MaxBytes = None,
    max_kv_bytes_per_token: MaxKvBytes = None,
    hours: Hours = 2.0,
    out: Out = None,
    force: Force = False,
    example_name: Example = None,
) -> None:
    """Write a first grid file: commented, checked, and of a size that this machine can do."""
    if example_name is not None:
        _write_example(example_name, out, force)
        return
    if model is None or text is None:
        raise InvalidInputError(
            "init takes a model and a text: trsp init MODEL --text FILE [--max-params 5B]; or "
            "--example demo"
        )
    limits = {
        "max_params": max_params,
        "max_bytes": max_bytes,
        "max_kv_bytes_per_token": max_kv_bytes_per_token,
    }
    given = tuple((name, value) for name, values in limits.items() for value in values or ())
    from orchestrator.first_grid.compose import Wanted

    wanted = Wanted(model, text, held_out, given, column, hours)
    _write_first(wanted, out or Path("grid.yaml"), force)


def _write_example(name: str, out: Path | None, force: bool) -> None:
    from orchestrator.first_grid.writing import write_grid

    target = out or Path(f"{name}.yaml")
    write_grid(example(name), target, force=force)
    print_line(console(), f"wrote {target}: an example to read and change, then trsp plan {target}")


def _write_first(wanted: "Wanted", target: Path, force: bool) -> None:
    from orchestrator.first_grid.compose import first_grid, time_in_words
    from orchestrator.first_grid.machine import this_machine
    from orchestrator.first_grid.writing import checked, write_grid

    machine, out = this_machine(), console()
    found = first_grid(wanted, machine)
    cells = checked(found.content, target.name).cells
    write_grid(found.content, target, force=force)
    time = time_in_words(found.hours)
    print_line(out, f"wrote {target}: {len(cells)} cells, about {time} on {machine.text}")
    for note in found.notes:
        print_line(out, f"  {note}")
    print_line(out, f"next: trsp plan {target}; trsp run {target}; trsp best {target}")
