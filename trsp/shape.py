"""How large a model is, read off its config.json: parameters by part, and the widths that activations have.

One table by ``model_type``, as ``families``. No torch, no transformers, no weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from trsp.config import Precision
from trsp.families import family_of, layer_count

Config = Mapping[str, Any]
Norm = Literal["layer", "rms", "rms_fp32"]  # the last multiplies by its weight in fp32
Switch = tuple[str, bool]  # a key of the config and what its absence means; no key: always so

_EAGER_BYTES = 8  # a head: the softmax in fp32 and, of it or of what goes in, as much again
_NEVER, _ALWAYS = ("", False), ("", True)


@dataclass(frozen=True)
class Kept:
    """Numbers that one layer keeps of one token for its backward pass: in the model's precision, and in fp32 in any case."""

    own: int
    fp32: int

    def bytes(self, weight_bytes: int) -> int:
        return self.own * weight_bytes + self.fp32 * 4


@dataclass(frozen=True)
class ModelShape:
    """Counts of numbers, not bytes. ``dtype_bytes``: of a weight as the checkpoint has it (float16 is trained in bfloat16)."""

    layers: int
    hidden: int
    intermediate: int
    query: int  # heads * head size
    key_value: int  # key and value heads * head size, of the keys alone
    vocabulary: int
    layer_params: int  # of one layer
    embedding_params: int  # of tokens and positions
    head_params: int  # of the output head; 0 where it is the embedding
    other_params: int  # final norm and the like
    dtype_bytes: int
    trained: "Kept"
    frozen: "Kept"
    square_bytes: int  # kept for each pair of tokens of a block, where attention is not computed in tiles
    linears: tuple[tuple[str, int, int], ...]  # linear modules of one layer: name, inputs, outputs

    @property
    def params(self) -> int:
        """A tied tensor counts once."""
        return self.layers * self.layer_params + self.embedding_params + self.head_params + self.other_params

    @property
    def kv_values_per_token(self) -> int:
        """What the KV cache keeps of one token over all layers, while it is inside every layer's window."""
        return 2 * self.key_value * self.layers

    def lora_params(self, rank: int, targets: Literal["all-linear"] | tuple[str, ...]) -> int:
        """Numbers in the adapters of all layers: two matrices of ``rank`` for each linear module named."""
        wanted = [linear for linear in self.linears if targets == "all-linear" or linear[0].rpartition(".")[2] in targets]
        return self.layers * rank * sum(inputs + outputs for _, inputs, outputs in wanted)

    def weight_bytes(self, precision: Precision) -> int:
        """Bytes of one weight when loaded in ``precision``."""
        return {"auto": self.dtype_bytes, "bf16": 2, "fp32": 4}[precision]


@dataclass(frozen=True)
class _Weights:
    """What a family's weights are made of, beyond the widths that its config gives."""

    names: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    intermediate: str = "intermediate_size"
    head_size: int | None = None  # where the config gives none; None: width / heads
    norms: int = 2  # of a layer
    norm: Norm = "rms"
    kept: tuple[int, int] = (4, 3)  # copies of the MLP's width that training keeps, with weights trained and frozen
    attention: tuple[int, int] = (2, 2)  # of the queries' width: the queries and the output, where they are not views
    fused: bool = False  # the values are views of one tensor with queries and keys, which is kept whole
    eager: bool = False  # scores of all pairs of tokens are kept
    final_norm: Switch = _ALWAYS
    qk_norm: Literal["no", "head", "width"] = "no"  # of queries and keys: one for all heads, or as wide as they all
    qkv_bias: Switch = ("attention_bias", False)
    output_bias: Switch = ("attention_bias", False)
    mlp_bias: Switch = _NEVER
    head_bias: bool = False
    tied: bool = False  # where the config does not say
    positions: tuple[str, int] | None = None  # learned ones: key of their number, and how many more there are

    @property
    def gated(self) -> bool:
        return any(name.startswith("gate") for name in self.names)


_GEMMA = _Weights(head_size=256, norms=4, norm="rms_fp32", tied=True)

_WEIGHTS: Mapping[str, _Weights] = {
    "llama": _Weights(mlp_bias=("mlp_bias", False)),
    "mistral": _Weights(qkv_bias=_NEVER, output_bias=_NEVER),
    "qwen2": _Weights(qkv_bias=_ALWAYS, output_bias=_NEVER),
    "qwen3": _Weights(head_size=128, qk_norm="head"),
    "gemma2": replace(_GEMMA, eager=True, attention=(4, 3)),
    "gemma3_text": replace(_GEMMA, qk_norm="head"),
    "phi": _Weights(
        names=("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"),
        norms=1,
        norm="layer",
        kept=(5, 4),
        attention=(3, 2),
        qkv_bias=_ALWAYS,
        output_bias=_ALWAYS,
        mlp_bias=_ALWAYS,
        head_bias=True,
    ),
    "phi3": _Weights(
        names=("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
        attention=(3, 2),
        fused=True,
        qkv_bias=_NEVER,
        output_bias=_NEVER,
    ),
    "opt": _Weights(
        names=("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
        intermediate="ffn_dim",
        norm="layer",
        kept=(1, 1),
        final_norm=("do_layer_norm_before", True),
        qkv_bias=("enable_bias", True),
        output_bias=("enable_bias", True),
        mlp_bias=("enable_bias", True),
        tied=True,
        positions=("max_position_embeddings", 2),
    ),
    "gpt2": _Weights(
        names=("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
        intermediate="n_inner",
        norm="layer",
        kept=(5, 4),
        qkv_bias=_ALWAYS,
        output_bias=_ALWAYS,
        mlp_bias=_ALWAYS,
        tied=True,
        positions=("n_positions", 0),
    ),
    "gpt_neox": _Weights(
        names=("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
        norm="layer",
        kept=(2, 1),
        attention=(3, 2),
        fused=True,
        qkv_bias=("attention_bias", True),
        output_bias=("attention_bias", True),
        mlp_bias=_ALWAYS,
    ),
    "olmo2": _Weights(norm="rms_fp32", qk_norm="width"),
}


def model_shape(config: Config) -> ModelShape:
    """The shape that this config.json describes. UnknownFamilyError for a family that is not in the table."""
    family, weights = family_of(config), _WEIGHTS[config["model_type"]]
    hidden, heads = config[family.width], config[family.heads]
    head_size = config.get("head_dim") or weights.head_size or hidden // heads
    query, key_value = heads * head_size, (config.get("num_key_value_heads") or heads) * head_size
    intermediate = config.get(weights.intermediate) or 4 * hidden
    linears = _linears(weights, hidden, query, key_value, intermediate)
    embedding, head, other = _outside_layers(config, weights, hidden)
    return ModelShape(
        layers=layer_count(config),
        hidden=hidden,
        intermediate=intermediate,
        query=query,
        key_value=key_value,
        vocabulary=config["vocab_size"],
        layer_params=sum(inputs * outputs for _, inputs, outputs in linears)
        + _biases(config, weights, hidden, query + 2 * key_value, intermediate)
        + _norms(weights, hidden, query, key_value, head_size),
        embedding_params=embedding,
        head_params=head,
        other_params=other,
        dtype_bytes=_dtype_bytes(config),
        trained=_kept(weights, hidden, query, key_value, intermediate, trained=True),
        frozen=_kept(weights, hidden, query, key_value, intermediate, trained=False),
        square_bytes=_EAGER_BYTES * heads * weights.eager,
        linears=linears,
    )


def _linears(weights: _Weights, hidden: int, query: int, key_value: int, intermediate: int) -> tuple[tuple[str, int, int], ...]:
    """Attention's projections apart or fused, then the MLP's, in the order of ``names``."""
    names = weights.names
    separate = len(names) >= 6
    sizes = [(hidden, query), (hidden, key_value), (hidden, key_value)] if separate else [(hidden, query + 2 * key_value)]
    sizes.append((query, hidden))
    into = [(hidden, intermediate)] * (1 + weights.gated) if separate else [(hidden, intermediate * (1 + weights.gated))]
    sizes += [*into, (intermediate, hidden)]
    return tuple((name, *size) for name, size in zip(names, sizes, strict=True))


def _biases(config: Config, weights: _Weights, hidden: int, qkv: int, intermediate: int) -> int:
    into = intermediate * (1 + weights.gated)
    return (
        _on(config, weights.qkv_bias) * qkv
        + _on(config, weights.output_bias) * hidden
        + _on(config, weights.mlp_bias) * (into + hidden)
    )


def _norms(weights: _Weights, hidden: int, query: int, key_value: int, head_size: int) -> int:
    qk = {"no": 0, "head": 2 * head_size, "width": query + key_value}[weights.qk_norm]
    return weights.norms * hidden * (1 + (weights.norm == "layer")) + qk


def _outside_layers(config: Config, weights: _Weights, hidden: int) -> tuple[int, int, int]:
    """Embeddings, output head, and the rest. OPT may embed in another width, with a projection in and one out."""
    vocabulary, width = config["vocab_size"], config.get("word_embed_proj_dim") or hidden
    embedding = vocabulary * width
    if weights.positions:
        key, more = weights.positions
        embedding += (config[key] + more) * hidden
    tied = config.get("tie_word_embeddings", weights.tied)
    head = 0 if tied else vocabulary * width
    norm = _on(config, weights.final_norm) * hidden * (1 + (weights.norm == "layer"))
    projections = 0 if width == hidden else 2 * width * hidden
    return embedding, head + weights.head_bias * vocabulary, norm + projections


def _kept(weights: _Weights, hidden: int, query: int, key_value: int, intermediate: int, *, trained: bool) -> Kept:
    """What autograd saves of one token. Trained weights need their linear module's input, norms of frozen ones keep less.

    A gate keeps what its layer adds, which is counted where weights are frozen.
    """
    kept_norm = {"layer": (1, 0), "rms": (int(trained), 1), "rms_fp32": (0, 1 + trained)}[weights.norm]
    qk = 0 if weights.qk_norm == "no" else query + key_value
    inputs = min(2, weights.norms)  # of attention and the MLP; a lone norm feeds both
    norms = 1 if weights.fused and weights.norm == "layer" else weights.norms  # GPT-NeoX: both of the same tensor
    own = (norms * kept_norm[0] + (inputs if trained else 1)) * hidden + kept_norm[0] * qk
    own += weights.kept[not trained] * intermediate + weights.attention[not trained] * query
    own += 0 if weights.eager else 2 * key_value  # eager attention repeats them for all queries
    if weights.fused:
        own += query + key_value
    return Kept(own, kept_norm[1] * (weights.norms * hidden + qk))


def _on(config: Config, switch: Switch) -> bool:
    key, default = switch
    return bool(config.get(key, default)) if key else default


def _dtype_bytes(config: Config) -> int:
    """As ``device.resolve_dtype`` does: a config that names none means float32."""
    named = str(config.get("dtype", config.get("torch_dtype")) or "float32")
    return 2 if named.endswith("16") else 4
