"""The content keys of the jobs and of a grid that uses every setting, equal to those in keys.txt.

A key that changes throws away what users have computed. Where that is meant (a stage's code
computes something else: VERSIONS) ``python -m tests.golden.test_keys`` writes the file again, and
the change log says which keys changed and why.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pydantic import BaseModel

from orchestrator.grid.axes import Combination, ModelEntry
from orchestrator.grid.cells import Cell, ModelInfo, Study, text_id
from orchestrator.grid.expand import Expansion, expand
from orchestrator.grid.schema import Grid, load_grid
from orchestrator.layouts.chooser import ladder_key
from orchestrator.layouts.layout import Layout
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.score_items import score_items
from orchestrator.stages.stage_specs import (
    SCHEDULED,
    StageKind,
    StageSpec,
    cell_stages,
    dense_spec,
    measure_spec,
    ranking_spec,
)
from trsp.config import (
    BlockInfluenceSettings,
    NoTransfer,
    RandomSettings,
    ReverseSettings,
    SlebSettings,
)

HERE = Path(__file__).resolve().parent
KEYS = HERE / "keys.txt"
GRIDS = [*sorted((HERE.parents[1] / "jobs").glob("*.yaml")), HERE / "every-setting.yaml"]


def resolved(path: Path) -> Resolved:
    """Return the grid with names in place of fingerprints.

    Nothing is read, and nothing depends on a machine.
    """
    with mock.patch.dict(os.environ, TRSP_HOME="/trsp"):
        grid = load_grid(path)
    models = {entry.name: model_info(entry) for entry in grid.models}
    texts = [grid.calibration.text, *(each.text for each in grid.evaluation.perplexity)]
    benchmarks = grid.evaluation.benchmarks
    tasks = benchmarks.tasks if benchmarks else ()
    study = Study(
        calibration=grid.calibration,
        evaluation=grid.evaluation,
        measurement=grid.measurement,
        precision=grid.precision,
        hardware="golden",
        text_fingerprints={text_id(text): f"golden:{text.name}" for text in texts},
        benchmark_fingerprints=dict.fromkeys(tasks, "golden"),
    )
    expansion: Expansion = expand(grid, models)
    assert not expansion.refusals
    assert not expansion.unresolved
    return Resolved(grid, models, study, expansion)


def model_info(entry: ModelEntry) -> ModelInfo:
    """Return the model as if it had been looked up: 30 layers unless the grid says how many."""
    types = ("sliding_attention", "full_attention") * 9 if entry.name == "gemma" else ()
    return ModelInfo(
        entry.name, entry.source, entry.revision, f"golden:{entry.name}", entry.layers or 30, types
    )


def stages(cell: Cell, study: Study) -> Iterator[StageSpec]:
    """Yield every stage of a cell, as if its ranking had chosen layers 2, 3 and so on."""
    yield ranking_spec(cell, study)
    yield from cell_stages(cell, study, range(2, 2 + cell.removed))


def lines(path: Path) -> list[str]:
    """Return ``GRID KIND KEY`` of all that is kept under a key, each once, in order."""
    grid = resolved(path)
    specs = [spec for cell in grid.cells for spec in stages(cell, grid.study)]
    for model in grid.models.values():
        specs += [
            dense_spec(model, grid.study),
            *filter(None, [measure_spec(model, grid.study, ())]),
        ]
    specs += [
        item
        for spec in specs
        if spec.kind in (StageKind.EVALUATE, StageKind.DENSE)
        for item in score_items(spec).values()
    ]
    begin = Layout(ranks=2, memory_bytes=5)
    keys = {("grid", grid.key)}
    keys |= {("cell", cell.key) for cell in grid.cells}
    keys |= {(str(spec.kind), spec.key) for spec in specs}
    keys |= {("layout", ladder_key(grid, spec, begin)) for spec in specs if spec.kind in SCHEDULED}
    return [f"{path.stem} {kind} {key}" for kind, key in sorted(keys)]


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_the_keys_are_those_of_the_file(path: Path) -> None:
    known = [
        line
        for line in KEYS.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"{path.stem} ")
    ]
    assert lines(path) == known


def instances(value: Any) -> Iterator[BaseModel]:
    """Yield every settings object within ``value``."""
    if isinstance(value, BaseModel):
        yield value
        for name in type(value).model_fields:
            yield from instances(getattr(value, name))
    elif isinstance(value, tuple):
        for each in value:
            yield from instances(each)


def test_the_grid_uses_every_setting() -> None:
    used: dict[type[BaseModel], set[str]] = {}
    for each in instances(load_grid(HERE / "every-setting.yaml")):
        used.setdefault(type(each), set()).update(each.model_fields_set)
    assert {
        Grid,
        Combination,
        BlockInfluenceSettings,
        SlebSettings,
        RandomSettings,
        ReverseSettings,
        NoTransfer,
    } <= used.keys()
    unused = {
        kind.__name__: left
        for kind, names in used.items()
        if (left := set(kind.model_fields) - names - {"path"})
    }
    assert not unused


if __name__ == "__main__":
    KEYS.write_text(
        "".join(f"{line}\n" for path in GRIDS for line in lines(path)), encoding="utf-8"
    )
    sys.stdout.write(f"{KEYS}\n")
