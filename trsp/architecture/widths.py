"""The widths within a layer, read off a model's config.json. No torch, no transformers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trsp.architecture.families import family_of
from trsp.architecture.family_weights import FAMILY_WEIGHTS

Config = Mapping[str, Any]


@dataclass(frozen=True)
class LayerWidths:
    """The widths within a layer: ``query`` of all queries, ``key_value`` of all keys alone."""

    hidden: int
    intermediate: int
    heads: int
    head_size: int
    query: int
    key_value: int


def layer_widths(config: Config) -> LayerWidths:
    """Return the widths that the config gives, with the family's defaults for those it leaves out.

    Raises UnknownFamilyError for a family that is not in the table.
    """
    family = family_of(config)
    weights = FAMILY_WEIGHTS[config["model_type"]]
    hidden, heads = config[family.width], config[family.heads]
    head_size = config.get("head_dim") or weights.head_size or hidden // heads
    return LayerWidths(
        hidden=hidden,
        intermediate=config.get(weights.intermediate) or 4 * hidden,
        heads=heads,
        head_size=head_size,
        query=heads * head_size,
        key_value=(config.get("num_key_value_heads") or heads) * head_size,
    )
