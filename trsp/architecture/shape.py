"""How large a model is, read off its config.json: parameters by part, and widths of activations.

One table by ``model_type`` as in ``families``. No torch, no transformers, no weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from trsp.architecture.families import layer_count
from trsp.architecture.family_weights import FAMILY_WEIGHTS, FamilyWeights, Switch
from trsp.architecture.widths import Config, LayerWidths, layer_widths
from trsp.config import Precision

# Bytes per head and pair of tokens that eager attention keeps: the softmax in fp32 and, of its
# result or of what goes into it, as much again.
_EAGER_BYTES = 8
_PRECISIONS: Mapping[str, Precision] = {
    "float16": "bf16",  # training in float16 needs loss scaling
    "bfloat16": "bf16",
    "float32": "fp32",
}


@dataclass(frozen=True)
class SavedActivations:
    """How many numbers one layer saves per token for its backward pass.

    ``own``: in the model's precision; ``fp32``: in fp32, whatever the model's precision.
    """

    own: int
    fp32: int

    def bytes(self, weight_bytes: int) -> int:
        """Return the bytes per token in a model whose weights take ``weight_bytes`` each."""
        return self.own * weight_bytes + self.fp32 * 4


@dataclass(frozen=True)
class ModelShape:
    """The size of a model in counts of numbers, except for the two fields that are bytes.

    ``dtype_bytes``: of one weight as the checkpoint has it (float16 is trained in bfloat16).
    ``square_bytes``: kept by a layer for each pair of tokens of a block; 0 where attention is
    computed in tiles. ``linears``: the linear modules of one layer as (name, inputs, outputs).
    """

    layers: int
    hidden: int
    intermediate: int
    query: int  # number of heads * head size
    key_value: int  # number of key and value heads * head size, of the keys alone
    vocabulary: int
    layer_params: int  # of one layer
    embedding_params: int  # of tokens and positions
    head_params: int  # of the output head; 0 where it is the embedding
    other_params: int  # final norm and the like
    dtype_bytes: int
    saved_if_trained: SavedActivations  # by a layer whose weights are trained
    saved_if_frozen: SavedActivations  # by a layer of frozen weights with a gate
    square_bytes: int
    linears: tuple[tuple[str, int, int], ...]

    @property
    def params(self) -> int:
        """The parameters of the whole model; a tied tensor counts once."""
        outside = self.embedding_params + self.head_params + self.other_params
        return self.layers * self.layer_params + outside

    @property
    def passing_per_token(self) -> int:
        """The numbers that a layer makes for one token and frees again while it computes."""
        mlp = 4 * self.hidden + 4 * self.intermediate
        return mlp + 2 * self.query + 2 * self.key_value

    @property
    def kv_values_per_token(self) -> int:
        """The numbers that the KV cache keeps of one token over all layers.

        They stay while the token is inside every layer's window.
        """
        return 2 * self.key_value * self.layers

    def lora_params(self, rank: int, targets: Literal["all-linear"] | tuple[str, ...]) -> int:
        """Return the numbers in the adapters of all layers.

        Each linear module that ``targets`` names gets two matrices of LoRA's rank ``rank``.
        """
        adapted = [
            inputs + outputs
            for name, inputs, outputs in self.linears
            if targets == "all-linear" or name.rpartition(".")[2] in targets
        ]
        return self.layers * rank * sum(adapted)

    def weight_bytes(self, precision: Precision) -> int:
        """Return the bytes of one weight when the model is loaded in ``precision``."""
        return {"auto": self.dtype_bytes, "bf16": 2, "fp32": 4}[precision]


def model_shape(config: Config) -> ModelShape:
    """Return the shape that this config.json describes.

    Raises UnknownFamilyError for a family that is not in the table.
    """
    widths, weights = layer_widths(config), FAMILY_WEIGHTS[config["model_type"]]
    linears = _linears(weights, widths)
    embedding, head, other = _outside_layers(config, weights, widths.hidden)
    return ModelShape(
        layers=layer_count(config),
        hidden=widths.hidden,
        intermediate=widths.intermediate,
        query=widths.query,
        key_value=widths.key_value,
        vocabulary=config["vocab_size"],
        layer_params=sum(inputs * outputs for _, inputs, outputs in linears)
        + _bias_params(config, weights, widths)
        + _norm_params(weights, widths),
        embedding_params=embedding,
        head_params=head,
        other_params=other,
        dtype_bytes=_dtype_bytes(config),
        saved_if_trained=_saved_activations(weights, widths, trained=True),
        saved_if_frozen=_saved_activations(weights, widths, trained=False),
        square_bytes=_EAGER_BYTES * widths.heads if weights.eager else 0,
        linears=linears,
    )


def _linears(weights: FamilyWeights, widths: LayerWidths) -> tuple[tuple[str, int, int], ...]:
    """Return name, inputs and outputs of a layer's linear modules, in the order of ``names``.

    Attention's projections come first, apart or fused into one, then the MLP's.
    """
    hidden, query, key_value = widths.hidden, widths.query, widths.key_value
    inner = widths.intermediate
    into_mlp = 2 if weights.gated else 1  # projections into the MLP
    if weights.has_separate_projections:
        into_attention = [(hidden, query), (hidden, key_value), (hidden, key_value)]
        sizes = [*into_attention, (query, hidden), *[(hidden, inner)] * into_mlp]
    else:
        sizes = [(hidden, query + 2 * key_value), (query, hidden), (hidden, inner * into_mlp)]
    sizes.append((inner, hidden))
    return tuple((name, *size) for name, size in zip(weights.names, sizes, strict=True))


def _bias_params(config: Config, weights: FamilyWeights, widths: LayerWidths) -> int:
    """Return the number of biases in one layer."""
    biases = 0
    if _is_on(config, weights.qkv_bias):
        biases += widths.query + 2 * widths.key_value
    if _is_on(config, weights.output_bias):
        biases += widths.hidden
    if _is_on(config, weights.mlp_bias):
        biases += widths.intermediate * (2 if weights.gated else 1) + widths.hidden
    return biases


def _norm_params(weights: FamilyWeights, widths: LayerWidths) -> int:
    """Return the number of parameters in one layer's norms, those of queries and keys included."""
    of_queries_and_keys = {
        "no": 0,
        "head": 2 * widths.head_size,
        "width": widths.query + widths.key_value,
    }
    norms = weights.norms * weights.norm_params_per_width * widths.hidden
    return norms + of_queries_and_keys[weights.qk_norm]


def _outside_layers(config: Config, weights: FamilyWeights, hidden: int) -> tuple[int, int, int]:
    """Return the parameters of the embeddings, of the output head, and of the rest.

    OPT may embed in another width, with a projection in and one out.
    """
    vocabulary, width = config["vocab_size"], config.get("word_embed_proj_dim") or hidden
    embedding = vocabulary * width
    if weights.positions:
        key, more = weights.positions
        embedding += (config[key] + more) * hidden
    tied = config.get("tie_word_embeddings", weights.tied)
    head = 0 if tied else vocabulary * width
    if weights.head_bias:
        head += vocabulary
    other = 0 if width == hidden else 2 * width * hidden
    if _is_on(config, weights.final_norm):
        other += weights.norm_params_per_width * hidden
    return embedding, head, other


def _saved_activations(
    weights: FamilyWeights, widths: LayerWidths, *, trained: bool
) -> SavedActivations:
    """Return what autograd saves of one token in one layer.

    Trained weights need the input of their linear module; norms of frozen weights save less.
    A gate keeps what its layer adds, which is counted where weights are frozen.
    """
    norm_own, norm_fp32 = _saved_by_norm(weights, trained=trained)
    norms = weights.norms
    if weights.fused and weights.norm == "layer":
        norms = 1  # GPT-NeoX: both norms have the same input
    inputs = min(2, weights.norms)  # of attention and of the MLP; a lone norm feeds both
    query_and_key = 0 if weights.qk_norm == "no" else widths.query + widths.key_value
    own = (norms * norm_own + (inputs if trained else 1)) * widths.hidden + norm_own * query_and_key
    own += weights.saved_by_mlp.copies(trained=trained) * widths.intermediate
    own += weights.saved_by_attention.copies(trained=trained) * widths.query
    if not weights.eager:  # eager attention repeats keys and values for all queries
        own += 2 * widths.key_value
    if weights.fused:
        own += widths.query + widths.key_value
    return SavedActivations(own, norm_fp32 * (weights.norms * widths.hidden + query_and_key))


def _saved_by_norm(weights: FamilyWeights, *, trained: bool) -> tuple[int, int]:
    """Return how many tensors of its width a norm saves: in the model's precision, and in fp32."""
    match weights.norm:
        case "layer":
            return 1, 0
        case "rms":
            return (1 if trained else 0), 1
        case "rms_fp32":
            return 0, (2 if trained else 1)


def _is_on(config: Config, switch: Switch) -> bool:
    key, default = switch
    return bool(config.get(key, default)) if key else default


def stored_precision(config: Config) -> Precision:
    """Return the precision that ``auto`` means for a checkpoint with this config.json.

    It is what ``device.resolve_dtype`` understands; ``auto`` where that has no other name.
    """
    named = str(config.get("dtype", config.get("torch_dtype")) or "float32")
    return _PRECISIONS.get(named.removeprefix("torch."), "auto")


def _dtype_bytes(config: Config) -> int:
    """Return the bytes of one weight as ``device.resolve_dtype`` understands the config.

    A config that names no dtype means float32.
    """
    named = str(config.get("dtype", config.get("torch_dtype")) or "float32")
    return 2 if named.endswith("16") else 4
