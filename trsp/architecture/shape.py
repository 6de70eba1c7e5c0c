"""How large a model is, read off its config.json: parameters by part, and the widths that activations have.

One table by ``model_type``, as ``families``. No torch, no transformers, no weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trsp.architecture.families import family_of, layer_count
from trsp.architecture.family_weights import FAMILY_WEIGHTS, FamilyWeights, Switch
from trsp.config import Precision

Config = Mapping[str, Any]
_EAGER_BYTES = 8  # a head: the softmax in fp32 and, of it or of what goes in, as much again


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
    square_bytes: (
        int  # kept for each pair of tokens of a block, where attention is not computed in tiles
    )
    linears: tuple[tuple[str, int, int], ...]  # linear modules of one layer: name, inputs, outputs

    @property
    def params(self) -> int:
        """A tied tensor counts once."""
        return (
            self.layers * self.layer_params
            + self.embedding_params
            + self.head_params
            + self.other_params
        )

    @property
    def kv_values_per_token(self) -> int:
        """What the KV cache keeps of one token over all layers, while it is inside every layer's window."""
        return 2 * self.key_value * self.layers

    def lora_params(self, rank: int, targets: Literal["all-linear"] | tuple[str, ...]) -> int:
        """Numbers in the adapters of all layers: two matrices of ``rank`` for each linear module named."""
        wanted = [
            linear
            for linear in self.linears
            if targets == "all-linear" or linear[0].rpartition(".")[2] in targets
        ]
        return self.layers * rank * sum(inputs + outputs for _, inputs, outputs in wanted)

    def weight_bytes(self, precision: Precision) -> int:
        """Bytes of one weight when loaded in ``precision``."""
        return {"auto": self.dtype_bytes, "bf16": 2, "fp32": 4}[precision]


def model_shape(config: Config) -> ModelShape:
    """The shape that this config.json describes. UnknownFamilyError for a family that is not in the table."""
    family, weights = family_of(config), FAMILY_WEIGHTS[config["model_type"]]
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


def _linears(
    weights: FamilyWeights, hidden: int, query: int, key_value: int, intermediate: int
) -> tuple[tuple[str, int, int], ...]:
    """Attention's projections apart or fused, then the MLP's, in the order of ``names``."""
    names = weights.names
    separate = len(names) >= 6
    sizes = (
        [(hidden, query), (hidden, key_value), (hidden, key_value)]
        if separate
        else [(hidden, query + 2 * key_value)]
    )
    sizes.append((query, hidden))
    into = (
        [(hidden, intermediate)] * (1 + weights.gated)
        if separate
        else [(hidden, intermediate * (1 + weights.gated))]
    )
    sizes += [*into, (intermediate, hidden)]
    return tuple((name, *size) for name, size in zip(names, sizes, strict=True))


def _biases(
    config: Config, weights: FamilyWeights, hidden: int, qkv: int, intermediate: int
) -> int:
    into = intermediate * (1 + weights.gated)
    return (
        _on(config, weights.qkv_bias) * qkv
        + _on(config, weights.output_bias) * hidden
        + _on(config, weights.mlp_bias) * (into + hidden)
    )


def _norms(weights: FamilyWeights, hidden: int, query: int, key_value: int, head_size: int) -> int:
    qk = {"no": 0, "head": 2 * head_size, "width": query + key_value}[weights.qk_norm]
    return weights.norms * hidden * (1 + (weights.norm == "layer")) + qk


def _outside_layers(config: Config, weights: FamilyWeights, hidden: int) -> tuple[int, int, int]:
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


def _kept(
    weights: FamilyWeights,
    hidden: int,
    query: int,
    key_value: int,
    intermediate: int,
    *,
    trained: bool,
) -> Kept:
    """What autograd saves of one token. Trained weights need their linear module's input, norms of frozen ones keep less.

    A gate keeps what its layer adds, which is counted where weights are frozen.
    """
    kept_norm = {"layer": (1, 0), "rms": (int(trained), 1), "rms_fp32": (0, 1 + trained)}[
        weights.norm
    ]
    qk = 0 if weights.qk_norm == "no" else query + key_value
    inputs = min(2, weights.norms)  # of attention and the MLP; a lone norm feeds both
    norms = (
        1 if weights.fused and weights.norm == "layer" else weights.norms
    )  # GPT-NeoX: both of the same tensor
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
