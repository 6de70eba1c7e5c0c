"""Small grids and cells for the tests of this folder."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.grid.cells import Cell, ModelInfo
from orchestrator.grid.expand import Expansion, expand
from orchestrator.grid.schema import Grid, load_grid
from orchestrator.views.aliases import AliasClaim
from orchestrator.views.grid_view import CellView, Status
from trsp.config import NoTransfer, ReverseSettings
from trsp.errors import InvalidInputError
from trsp.records import CheckpointRecord, EvaluationRecord, Score

CALIBRATION = {"text": {"name": "wiki", "path": "wiki.jsonl"}, "blocks": 2, "block_tokens": 16}
EVALUATION = {"perplexity": [{"text": {"name": "wiki", "path": "test.jsonl"}, "window_tokens": 16}]}


def grid(**changes: Any) -> Grid:
    """Return a valid grid of one model named ``m``, with the changes."""
    return Grid.model_validate(
        {"name": "g", "models": "m", "calibration": CALIBRATION, "evaluation": EVALUATION} | changes
    )


def grid_file(folder: Path, **changes: Any) -> Path:
    """Write the file of a grid like ``grid``'s; a change to None leaves the key out."""
    data = {"models": "m", "calibration": CALIBRATION, "evaluation": EVALUATION} | changes
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "job.yaml"
    file.write_text(
        yaml.safe_dump({key: value for key, value in data.items() if value is not None}),
        encoding="utf-8",
    )
    return file


def refusal(file: Path) -> str:
    """Return what is said of a grid file that cannot be used."""
    with pytest.raises(InvalidInputError) as caught:
        load_grid(file)
    return str(caught.value)


def model(name: str = "m", layers: int = 10, layer_types: tuple[str, ...] = ()) -> ModelInfo:
    """Return a model as if it had been looked up, in ``/models``."""
    return ModelInfo(name, f"/models/{name}", None, f"sha256:{name}", layers, layer_types)


def expanded(layers: int = 10, **changes: Any) -> Expansion:
    """Return what ``grid`` of the changes asks for, all its models having so many layers."""
    found = grid(**changes)
    return expand(found, {entry.name: model(entry.name, layers) for entry in found.models})


def scored(
    seed: int,
    params: int,
    perplexity: float,
    window_nll: tuple[float, ...] = (),
    accuracy: Score | None = None,
) -> CellView:
    """Return a finished cell of that size and those scores; ``seed`` tells cells apart."""
    name = f"20% reverse seed={seed}"
    cell = Cell(model(), ReverseSettings(), 0.2, None, NoTransfer(), None, seed, name=name)
    scores = {"perplexity/wiki": Score(value=perplexity)} | (
        {"accuracy": accuracy} if accuracy else {}
    )
    return CellView(
        cell,
        "rank-0",
        Status.DONE,
        layers=(8, 7),
        checkpoint=CheckpointRecord(
            removed_layers=(7, 8),
            layers=8,
            params=params,
            size_bytes=2 * params,
            kv_bytes_per_token=64,
        ),
        checkpoint_uri=f"/store/prune-{seed}",
        evaluation=EvaluationRecord(
            scores=scores, window_nll={"wiki": window_nll} if window_nll else {}
        ),
    )


def claim(alias: str = "demo-best", value: float = 20.0, **changes: Any) -> AliasClaim:
    """Return a claim of grid ``demo`` by a perplexity of one text; with the changes."""
    given = {"grid": "demo", "budget": "params <= 1e+06", "metric": "perplexity/wiki"}
    judged = {"judged_by": {"text": "sha256:wiki", "windows": {"window_tokens": 256}}}
    return AliasClaim(**({"alias": alias, "value": value, **given, **judged} | changes))
