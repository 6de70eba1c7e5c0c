"""What the config.json of each decoder family means for pruning: one table by ``model_type``.

All functions take the plain dict of a config.json; indices are 0-based layers of the model which
that config describes. No torch, no transformers.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from trsp.errors import InvalidInputError, UnknownFamilyError, unknown_name

Config = Mapping[str, Any]

SLIDING = "sliding_attention"
FULL = "full_attention"


def _max_window_types(config: Config) -> list[str]:
    """Return Qwen's types: layers from ``max_window_layers`` on use the window, if it is on."""
    count = layer_count(config)
    if not config.get("use_sliding_window") or config.get("sliding_window") is None:
        return [FULL] * count
    first = config.get("max_window_layers", 28)
    return [SLIDING if i >= first else FULL for i in range(count)]


def _every_second_types(config: Config) -> list[str]:
    """Return Gemma 2's types: sliding and full in turn."""
    return [FULL if (i + 1) % 2 == 0 else SLIDING for i in range(layer_count(config))]


def _patterned_types(config: Config) -> list[str]:
    """Return Gemma 3's types: every ``sliding_window_pattern``-th layer is full."""
    pattern = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or 6
    return [FULL if (i + 1) % pattern == 0 else SLIDING for i in range(layer_count(config))]


@dataclass(frozen=True)
class Family:
    """Where a family keeps its layers, and which keys of its config speak of them.

    ``layers``: dotted path from the causal LM to the ModuleList. ``count``, ``heads``, ``width``:
    the keys of those numbers. ``per_layer``: keys of lists with one entry per layer.
    ``default_layer_types`` fills in ``layer_types`` when a (usually older) config leaves it out;
    None: the family has none. ``superseded``: keys that explicit lists replace, and that would be
    false of a pruned model. ``forbidden``: switches that tie a layer's function to its index, and
    why they forbid pruning. ``needs_bos``: whether it cannot read a text that no BOS opens.
    """

    layers: str = "model.layers"
    count: str = "num_hidden_layers"
    heads: str = "num_attention_heads"
    width: str = "hidden_size"
    per_layer: tuple[str, ...] = ()
    default_layer_types: Callable[[Config], list[str]] | None = None
    superseded: tuple[str, ...] = ()
    forbidden: Mapping[str, str] | None = None
    needs_bos: bool = False


_QWEN = Family(per_layer=("layer_types",), default_layer_types=_max_window_types)

FAMILIES: Mapping[str, Family] = {
    "llama": Family(),
    "mistral": Family(),
    "qwen2": _QWEN,
    "qwen3": _QWEN,
    "gemma2": Family(
        per_layer=("layer_types",), default_layer_types=_every_second_types, needs_bos=True
    ),
    "gemma3_text": Family(
        per_layer=("layer_types",),
        default_layer_types=_patterned_types,
        superseded=("sliding_window_pattern", "_sliding_window_pattern"),
        needs_bos=True,
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
            "scale_attn_by_inverse_layer_idx": "attention is divided by the layer's index, "
            "which pruning changes"
        },
    ),
    "gpt_neox": Family(layers="gpt_neox.layers"),
    "olmo2": Family(),
}


def family_of(config: Config) -> Family:
    """Return the family of ``config.model_type``.

    UnknownFamilyError, with the known ones, for any other.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise UnknownFamilyError(
            f"config.json has no model_type; known families are {', '.join(sorted(FAMILIES))}"
        )
    if model_type not in FAMILIES:
        raise UnknownFamilyError(unknown_name("model family", model_type, FAMILIES))
    return FAMILIES[model_type]


def check_supported(config: Config) -> None:
    """Raise InvalidInputError (UnknownFamilyError) for a model that cannot be pruned.

    Nothing is read but its config.
    """
    model_type = config.get("model_type")
    if config.get("is_encoder_decoder"):
        raise InvalidInputError(
            f"{model_type!r} is an encoder-decoder model; only decoder-only language models can be "
            f"pruned: choose one of the families {', '.join(sorted(FAMILIES))}"
        )
    family = family_of(config)
    _check_not_quantized(config)
    for switch, reason in (family.forbidden or {}).items():
        if config.get(switch):
            raise InvalidInputError(
                f"{model_type!r} with {switch}=true cannot be pruned: {reason}; "
                "choose another model"
            )
    count = layer_count(config)
    if count < 2:
        raise InvalidInputError(
            f"the model has {count} layer; at least 2 are needed, so that one can stay"
        )
    for key in family.per_layer:
        _check_length(config, key)


def _check_not_quantized(config: Config) -> None:
    quantization = config.get("quantization_config")
    if quantization:
        raise InvalidInputError(
            f"the checkpoint is quantized ({quantization.get('quant_method', 'method not named')});"
            " quantized weights cannot be trained or saved here: give the original float checkpoint"
            " and quantize after pruning"
        )


def _check_length(config: Config, key: str) -> None:
    """Raise InvalidInputError unless the list ``key``, if there, has one entry per layer."""
    listed = config.get(key)
    if listed is not None and len(listed) != layer_count(config):
        raise InvalidInputError(
            f"config.json: {key} has {len(listed)} entries for {layer_count(config)} layers; "
            "it must have one per layer: the checkpoint was cut without its config, "
            "repair it or take the original"
        )


def needs_bos(config: Config) -> bool:
    """Whether the model cannot read a text that no BOS opens, whatever its tokenizer does."""
    return family_of(config).needs_bos


def layer_count(config: Config) -> int:
    """Return the number of decoder layers. InvalidInputError: the config has none."""
    key = family_of(config).count
    count = config.get(key, config.get("num_hidden_layers"))
    if not isinstance(count, int):
        raise InvalidInputError(f"config.json: {key} is {count!r}; a number of layers is needed")
    return count


def layer_types(config: Config) -> tuple[str, ...]:
    """Return ``full_attention`` or ``sliding_attention`` for each layer.

    Empty for a family whose layers are all alike.
    """
    family = family_of(config)
    if family.default_layer_types is None:
        return ()
    return tuple(config.get("layer_types") or family.default_layer_types(config))


def pruned_config(config: Config, removed: Collection[int]) -> dict[str, Any]:
    """Return the config after deletion of ``removed``, with the count and every per-layer list cut.

    Nothing else changes. Lists the family derives when absent are written out, since a pruned model
    no longer follows the rule they come from. InvalidInputError: see ``check_layers``.
    """
    family, count = family_of(config), layer_count(config)
    removed = check_layers(removed, count)
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
    """Return ``layers`` as a set.

    InvalidInputError when one is outside [0, count) or named twice, or when none would be left.
    """
    unique = frozenset(layers)
    if len(unique) != len(layers):
        raise InvalidInputError(f"layers {sorted(layers)} name one twice; each may be given once")
    outside = sorted(i for i in unique if not 0 <= i < count)
    if outside:
        raise InvalidInputError(
            f"layers {outside} do not exist; the model has layers 0 to {count - 1}"
        )
    if len(unique) == count:
        raise InvalidInputError(
            f"all {count} layers would be removed; at least one must stay: remove fewer"
        )
    return unique
