"""What the weights of each model family are made of, one table by ``model_type``."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Norm = Literal["layer", "rms", "rms_fp32"]  # the last multiplies by its weight in fp32
Switch = tuple[str, bool]  # a key of the config and what its absence means; no key: always so
_NEVER, _ALWAYS = ("", False), ("", True)


@dataclass(frozen=True)
class FamilyWeights:
    """What a family's weights are made of, beyond the widths that its config gives."""

    names: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    intermediate: str = "intermediate_size"
    head_size: int | None = None  # where the config gives none; None: width / heads
    norms: int = 2  # of a layer
    norm: Norm = "rms"
    kept: tuple[int, int] = (
        4,
        3,
    )  # copies of the MLP's width that training keeps, with weights trained and frozen
    attention: tuple[int, int] = (
        2,
        2,
    )  # of the queries' width: the queries and the output, where they are not views
    fused: bool = (
        False  # the values are views of one tensor with queries and keys, which is kept whole
    )
    eager: bool = False  # scores of all pairs of tokens are kept
    final_norm: Switch = _ALWAYS
    qk_norm: Literal["no", "head", "width"] = (
        "no"  # of queries and keys: one for all heads, or as wide as they all
    )
    qkv_bias: Switch = ("attention_bias", False)
    output_bias: Switch = ("attention_bias", False)
    mlp_bias: Switch = _NEVER
    head_bias: bool = False
    tied: bool = False  # where the config does not say
    positions: tuple[str, int] | None = (
        None  # learned ones: key of their number, and how many more there are
    )

    @property
    def gated(self) -> bool:
        return any(name.startswith("gate") for name in self.names)


_GEMMA = FamilyWeights(head_size=256, norms=4, norm="rms_fp32", tied=True)


FAMILY_WEIGHTS: Mapping[str, FamilyWeights] = {
    "llama": FamilyWeights(mlp_bias=("mlp_bias", False)),
    "mistral": FamilyWeights(qkv_bias=_NEVER, output_bias=_NEVER),
    "qwen2": FamilyWeights(qkv_bias=_ALWAYS, output_bias=_NEVER),
    "qwen3": FamilyWeights(head_size=128, qk_norm="head"),
    "gemma2": replace(_GEMMA, eager=True, attention=(4, 3)),
    "gemma3_text": replace(_GEMMA, qk_norm="head"),
    "phi": FamilyWeights(
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
    "phi3": FamilyWeights(
        names=("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
        attention=(3, 2),
        fused=True,
        qkv_bias=_NEVER,
        output_bias=_NEVER,
    ),
    "opt": FamilyWeights(
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
    "gpt2": FamilyWeights(
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
    "gpt_neox": FamilyWeights(
        names=("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
        norm="layer",
        kept=(2, 1),
        attention=(3, 2),
        fused=True,
        qkv_bias=("attention_bias", True),
        output_bias=("attention_bias", True),
        mlp_bias=_ALWAYS,
    ),
    "olmo2": FamilyWeights(norm="rms_fp32", qk_norm="width"),
}
