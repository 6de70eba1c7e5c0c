"""What the weights of each model family are made of, one table by ``model_type``.

Knows no sizes: ``shape`` puts the widths of a config.json to this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Norm = Literal["layer", "rms", "rms_fp32"]  # "rms_fp32" multiplies by its weight in fp32
Switch = tuple[str, bool]  # a key of the config and what its absence means; "": always that value
_NEVER, _ALWAYS = ("", False), ("", True)


@dataclass(frozen=True)
class Saved:
    """How many tensors of one width a layer saves for its backward pass, by what is trained."""

    trained: int
    frozen: int

    def copies(self, *, trained: bool) -> int:
        """Return the number of tensors in a layer whose weights are trained, or are frozen."""
        return self.trained if trained else self.frozen


@dataclass(frozen=True)
class FamilyWeights:
    """What a family's weights are made of, beyond the widths that its config gives.

    ``names``: the linear modules of a layer: queries, keys, values and attention's output, then
    the MLP's, its output last; or those of them that are fused into one module.
    ``intermediate``: the key of the MLP's width in the config.
    ``head_size``: where the config gives none; None: hidden width / heads.
    ``norms``: their number in one layer, those of queries and keys left out.
    ``saved_by_mlp``: tensors of the MLP's width. ``saved_by_attention``: tensors of the queries'
    width, which are the queries and the output, where they are not views of another tensor.
    ``fused``: whether values are views of one tensor with queries and keys, which is kept whole.
    ``eager``: whether the scores of all pairs of tokens are kept.
    ``qk_norm``: of queries and keys: none, one weight for all heads, or one as wide as all heads.
    ``final_norm``, ``qkv_bias``, ``output_bias`` (attention's), ``mlp_bias``: if there is one.
    ``head_bias``: whether the output head has a bias.
    ``tied``: whether the output head is the embedding, where the config does not say.
    ``positions``: of learned ones, the config's key of their number and how many more there are.
    ``embedding``, ``head``: the modules of the tokens' embedding and of the output head.
    """

    names: tuple[str, ...] = (
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    )
    intermediate: str = "intermediate_size"
    head_size: int | None = None
    norms: int = 2
    norm: Norm = "rms"
    saved_by_mlp: Saved = Saved(trained=4, frozen=3)
    saved_by_attention: Saved = Saved(trained=2, frozen=2)
    fused: bool = False
    eager: bool = False
    final_norm: Switch = _ALWAYS
    qk_norm: Literal["no", "head", "width"] = "no"
    qkv_bias: Switch = ("attention_bias", False)
    output_bias: Switch = ("attention_bias", False)
    mlp_bias: Switch = _NEVER
    head_bias: bool = False
    tied: bool = False
    positions: tuple[str, int] | None = None
    embedding: str = "embed_tokens"
    head: str = "lm_head"

    @property
    def gated(self) -> bool:
        """Whether the MLP multiplies its inner values by a gate, which is one projection more."""
        return any(name.startswith("gate") for name in self.names)

    @property
    def has_separate_projections(self) -> bool:
        """Whether queries, keys and values (and the MLP's gate) are linear modules of their own."""
        return len(self.names) >= 6

    @property
    def norm_params_per_width(self) -> int:
        """A norm's parameters per number of its width: a weight and, in a layer norm, a bias."""
        return 2 if self.norm == "layer" else 1


_GEMMA = FamilyWeights(head_size=256, norms=4, norm="rms_fp32", tied=True)


FAMILY_WEIGHTS: Mapping[str, FamilyWeights] = {
    "llama": FamilyWeights(mlp_bias=("mlp_bias", False)),
    "mistral": FamilyWeights(qkv_bias=_NEVER, output_bias=_NEVER),
    "qwen2": FamilyWeights(qkv_bias=_ALWAYS, output_bias=_NEVER),
    "qwen3": FamilyWeights(head_size=128, qk_norm="head"),
    "gemma2": replace(_GEMMA, eager=True, saved_by_attention=Saved(trained=4, frozen=3)),
    "gemma3_text": replace(_GEMMA, qk_norm="head"),
    "phi": FamilyWeights(
        names=("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"),
        norms=1,
        norm="layer",
        saved_by_mlp=Saved(trained=5, frozen=4),
        saved_by_attention=Saved(trained=3, frozen=2),
        qkv_bias=_ALWAYS,
        output_bias=_ALWAYS,
        mlp_bias=_ALWAYS,
        head_bias=True,
    ),
    "phi3": FamilyWeights(
        names=("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
        saved_by_attention=Saved(trained=3, frozen=2),
        fused=True,
        qkv_bias=_NEVER,
        output_bias=_NEVER,
    ),
    "opt": FamilyWeights(
        names=("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
        intermediate="ffn_dim",
        norm="layer",
        saved_by_mlp=Saved(trained=1, frozen=1),
        final_norm=("do_layer_norm_before", True),
        qkv_bias=("enable_bias", True),
        output_bias=("enable_bias", True),
        mlp_bias=("enable_bias", True),
        tied=True,
        positions=("max_position_embeddings", 2),
    ),
    "gpt2": FamilyWeights(
        names=("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
        intermediate="n_inner",
        norm="layer",
        saved_by_mlp=Saved(trained=5, frozen=4),
        qkv_bias=_ALWAYS,
        output_bias=_ALWAYS,
        mlp_bias=_ALWAYS,
        tied=True,
        positions=("n_positions", 0),
        embedding="wte",
    ),
    "gpt_neox": FamilyWeights(
        names=("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
        norm="layer",
        saved_by_mlp=Saved(trained=2, frozen=1),
        saved_by_attention=Saved(trained=3, frozen=2),
        fused=True,
        qkv_bias=("attention_bias", True),
        output_bias=("attention_bias", True),
        mlp_bias=_ALWAYS,
        embedding="embed_in",
        head="embed_out",
    ),
    "olmo2": FamilyWeights(norm="rms_fp32", qk_norm="width"),
}
