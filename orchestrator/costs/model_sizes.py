"""How large the models of a grid are, where their config.json is not at hand: by their names.

``Llama-2-7b`` has 7 billion parameters, about. What has no such name is left out of a plan.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from orchestrator.grid.cells import ModelInfo
from orchestrator.stages.resolve import Resolved
from trsp.architecture.shape import ModelShape, model_shape

_SIZE = re.compile(r"(?:^|[-_. ])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.IGNORECASE)
_UNITS = {"b": 1e9, "m": 1e6}
_VOCABULARY, _HEAD_SIZE = 32000, 128
_OF_A_LAYER = 12  # parameters per square of the width, of gated and of plain layers alike


@dataclass(frozen=True)
class Sized:
    """A grid of models whose sizes are known or guessed, and what is said of the others.

    ``guessed``: the parameters by models' names. ``unknown``: names of those that are left out.
    """

    resolved: Resolved
    guessed: Mapping[str, float]
    unknown: tuple[str, ...]


def with_sizes(resolved: Resolved) -> Sized:
    """Return the grid with a shape for each model, without those of which nothing is known."""
    models: dict[str, ModelInfo] = {}
    guessed: dict[str, float] = {}
    for name, model in resolved.models.items():
        params = None if model.shape else params_by_name(model.source) or params_by_name(name)
        if model.shape is None and params is None:
            continue
        if params is not None:
            model = replace(model, shape=guessed_shape(params, model.layers))
            guessed[name] = params
        models[name] = model
    unknown = tuple(each.name for each in resolved.grid.models if each.name not in models)
    if not guessed and not unknown:
        return Sized(resolved, {}, ())
    cells = tuple(
        replace(cell, model=models[cell.model.name])
        for cell in resolved.cells
        if cell.model.name in models
    )
    expansion = replace(resolved.expansion, cells=cells)
    return Sized(replace(resolved, models=models, expansion=expansion), guessed, unknown)


def params_by_name(name: str) -> float | None:
    """Return the parameters that a model's name tells: 7e9 of ``meta-llama/Llama-2-7b-hf``."""
    found = _SIZE.findall(name.rpartition("/")[2])
    return float(found[-1][0]) * _UNITS[found[-1][1].lower()] if found else None


def guessed_shape(params: float, layers: int) -> ModelShape:
    """Return the shape of a llama of so many parameters: its width follows from both numbers.

    It is the root of ``12 * layers * width**2 + 2 * vocabulary * width = params``.
    """
    a, b = _OF_A_LAYER * layers, 2 * _VOCABULARY
    width = (math.sqrt(b * b + 4 * a * params) - b) / (2 * a)
    heads = max(1, round(width / _HEAD_SIZE))
    config = {
        "model_type": "llama",
        "vocab_size": _VOCABULARY,
        "dtype": "bfloat16",
        "hidden_size": heads * _HEAD_SIZE,
        "intermediate_size": round(8 / 3 * heads * _HEAD_SIZE),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }
    shape = model_shape(config)
    outside = shape.params - layers * shape.layer_params
    return replace(shape, layer_params=max(1, round((params - outside) / layers)))
