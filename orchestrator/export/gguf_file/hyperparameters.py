"""What GGUF says of a model beside its weights, from its config.json; and what it cannot say."""

from collections.abc import Mapping
from typing import Any

from gguf import GGUFWriter

from trsp.errors import InvalidInputError

Config = Mapping[str, Any]

# config.model_type -> GGUF's architecture. A mistral without a window is a llama there.
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}

_CURE = "export --to FOLDER, and give that to llama.cpp's convert_hf_to_gguf.py"


def architecture_of(config: Config) -> str:
    """Return GGUF's name of a model's architecture.

    InvalidInputError where the family, or something that its config says, is not written here.
    """
    family = str(config.get("model_type"))
    if family not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise InvalidInputError(f"--gguf writes {known}; this model is {family!r}; {_CURE}")
    rope = _rope(config).get("rope_type", "default")
    partial = _rope(config).get("partial_rotary_factor", 1.0)
    activation = config.get("hidden_act", "silu")
    if (rope, partial, activation) != ("default", 1.0, "silu"):
        raise InvalidInputError(
            "--gguf writes plain rotary positions and silu; this model has "
            f"rope_type {rope!r}, partial_rotary_factor {partial} and {activation!r}; {_CURE}"
        )
    window = _window(config)
    if window is not None:
        raise InvalidInputError(
            f"this model looks back over {window} tokens only, which a GGUF file of its family "
            "cannot say; export --to FOLDER, and serve that"
        )
    return ARCHITECTURES[family]


def add_hyperparameters(writer: GGUFWriter, config: Config) -> None:
    """Write sizes, positions and norms under the keys that every llama-like model has."""
    heads = config["num_attention_heads"]
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(key_heads(config))
    writer.add_key_length(_head_width(config))
    writer.add_value_length(_head_width(config))
    writer.add_rope_dimension_count(_head_width(config))
    writer.add_rope_freq_base(_rope(config).get("rope_theta", 10000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def key_heads(config: Config) -> int:
    """Return how many heads the keys have: as many as the queries, or fewer that they share."""
    return int(config.get("num_key_value_heads") or config["num_attention_heads"])


def _head_width(config: Config) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _rope(config: Config) -> Config:
    """Return what the config says of positions, as it is written today or was before."""
    old = config.get("rope_scaling") or {}
    before = {"rope_type": old.get("rope_type", old.get("type", "default"))}
    theta = {"rope_theta": config["rope_theta"]} if "rope_theta" in config else {}
    return before | theta | (config.get("rope_parameters") or {})


def _window(config: Config) -> int | None:
    """Return the shortest text in tokens of which a layer sees a part only; None: there is none."""
    window: int | None = config.get("sliding_window")
    if window is None or window >= config["max_position_embeddings"]:
        return None
    types = config.get("layer_types")
    if types is not None:
        return window if "sliding_attention" in types else None
    return window if config.get("use_sliding_window", True) else None
