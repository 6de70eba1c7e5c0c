"""What the config.json of each decoder family means for pruning: one table by ``model_type``. No torch, no transformers.

All functions take the plain dict of a config.json; indices are 0-based layers of the model that config describes.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from trsp.errors import InvalidInputError, UnknownFamilyError, unknown_name

Config = Mapping[str, Any]

SLIDING = "sliding_attention"
FULL = "full_attention"


def _max_window_types(config: Config) -> list[str]:
    """Qwen: the layers from ``max_window_layers`` on use the window, where the window is on at all."""
    windowed = bool(config.get("use_sliding_window")) and config.get("sliding_window") is not None
    first = config.get("max_window_layers", 28)
    return [SLIDING if windowed and i >= first else FULL for i in range(layer_count(config))]


def _every_second_types(config: Config) -> list[str]:
    """Gemma 2: sliding and full in turn."""
    return [FULL if (i + 1) % 2 == 0 else SLIDING for i in range(layer_count(config))]


def _patterned_types(config: Config) -> list[str]:
    """Gemma 3: every ``sliding_window_pattern``-th layer is full."""
    pattern = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or 6
    return [FULL if (i + 1) % pattern == 0 else SLIDING for i in range(layer_count(config))]


@dataclass(frozen=True)
class Family:
    """Where a family keeps its layers, and which keys of its config speak of them.

    ``layers``: dotted path from the causal LM to the ModuleList. ``per_layer``: config lists with one entry a layer.
    ``default_layer_types`` fills in ``layer_types`` when a (usually older) config leaves it out; None: the family has none.
    ``superseded``: keys that explicit lists replace, and that would be false of a pruned model.
    ``forbidden``: config switches that tie a layer's function to its index, and why they forbid pruning.
    """

    layers: str = "model.layers"
    count: str = "num_hidden_layers"
    heads: str = "num_attention_heads"
    width: str = "hidden_size"
    per_layer: tuple[str, ...] = ()
    default_layer_types: Callable[[Config], list[str]] | None = None
    superseded: tuple[str, ...] = ()
    forbidden: Mapping[str, str] | None = None


_QWEN = Family(per_layer=("layer_types",), default_layer_types=_max_window_types)

FAMILIES: Mapping[str, Family] = {
    "llama": Family(),
    "mistral": Family(),
    "qwen2": _QWEN,
    "qwen3": _QWEN,
    "gemma2": Family(per_layer=("layer_types",), default_layer_types=_every_second_types),
    "gemma3_text": Family(
        per_layer=("layer_types",),
        default_layer_types=_patterned_types,
        superseded=("sliding_window_pattern", "_sliding_window_pattern"),
    ),
    "phi": Family(),
    "phi3": Family(),
    "opt": Family(layers="model.decoder.layers"),
    "gpt2": Family(
        layers="transformer.h",
        count="n_layer",
        heads="n_head",
        width="n_embd",
        forbidden={
            "scale_attn_by_inverse_layer_idx": "attention is divided by the layer's index, which pruning changes"
        },
    ),
    "gpt_neox": Family(layers="gpt_neox.layers"),
    "olmo2": Family(),
}


def family_of(config: Config) -> Family:
    """The family of ``config.model_type``. UnknownFamilyError, with the known ones, for any other."""
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise UnknownFamilyError(
            f"config.json has no model_type; known families are {', '.join(sorted(FAMILIES))}"
        )
    if model_type not in FAMILIES:
        raise UnknownFamilyError(unknown_name("model family", model_type, FAMILIES))
    return FAMILIES[model_type]


def check_supported(config: Config) -> None:
    """Raises InvalidInputError (UnknownFamilyError) for a model that cannot be pruned; reads nothing but its config."""
    model_type = config.get("model_type")
    if config.get("is_encoder_decoder"):
        raise InvalidInputError(
            f"{model_type!r} is an encoder-decoder model; only decoder-only language models can be pruned: "
            f"choose one of the families {', '.join(sorted(FAMILIES))}"
        )
    family = family_of(config)
    if quantization := config.get("quantization_config"):
        raise InvalidInputError(
            f"the checkpoint is quantized ({quantization.get('quant_method', 'method not named')}); quantized weights "
            "cannot be trained or saved here: give the original float checkpoint and quantize after pruning"
        )
    for switch, reason in (family.forbidden or {}).items():
        if config.get(switch):
            raise InvalidInputError(
                f"{model_type!r} with {switch}=true cannot be pruned: {reason}; choose another model"
            )
    if layer_count(config) < 2:
        raise InvalidInputError(
            f"the model has {layer_count(config)} layer; at least 2 are needed, so that one can stay"
        )
    for key in family.per_layer:
        _check_length(config, key)


def _check_length(config: Config, key: str) -> None:
    listed = config.get(key)
    if listed is not None and len(listed) != layer_count(config):
        raise InvalidInputError(
            f"config.json: {key} has {len(listed)} entries for {layer_count(config)} layers; it must have one a layer: "
            "the checkpoint was cut without its config, repair it or take the original"
        )


def layer_count(config: Config) -> int:
    """Number of decoder layers."""
    key = family_of(config).count
    count = config.get(key, config.get("num_hidden_layers"))
    if not isinstance(count, int):
        raise InvalidInputError(f"config.json: {key} is {count!r}; a number of layers is needed")
    return count


def layer_types(config: Config) -> tuple[str, ...]:
    """``full_attention`` or ``sliding_attention`` of each layer; empty for a family whose layers are all alike."""
    family = family_of(config)
    if family.default_layer_types is None:
        return ()
    return tuple(config.get("layer_types") or family.default_layer_types(config))


def pruned_config(config: Config, removed: Collection[int]) -> dict[str, Any]:
    """The config after deletion of ``removed``: the count and every per-layer list are cut, nothing else changes.

    Lists the family derives when absent are written out, since a pruned model no longer follows the rule they come from.
    """
    family, count, removed = (
        family_of(config),
        layer_count(config),
        check_layers(removed, layer_count(config)),
    )
    kept = [i for i in range(count) if i not in removed]
    pruned = {key: value for key, value in config.items() if key not in family.superseded}
    pruned[family.count] = len(kept)
    for key in family.per_layer:
        listed = layer_types(config) if key == "layer_types" else config.get(key)
        if listed is not None:
            pruned[key] = [listed[i] for i in kept]
    if "max_window_layers" in pruned:
        pruned["max_window_layers"] = sum(i < config["max_window_layers"] for i in kept)
    return pruned


def check_layers(layers: Collection[int], count: int) -> frozenset[int]:
    """``layers`` as a set. InvalidInputError when one is outside [0, count), named twice, or when none would be left."""
    unique = frozenset(layers)
    if len(unique) != len(layers):
        raise InvalidInputError(f"layers {sorted(layers)} name one twice; each may be given once")
    if outside := sorted(i for i in unique if not 0 <= i < count):
        raise InvalidInputError(
            f"layers {outside} do not exist; the model has layers 0 to {count - 1}"
        )
    if len(unique) == count:
        raise InvalidInputError(
            f"all {count} layers would be removed; at least one must stay: remove fewer"
        )
    return unique
