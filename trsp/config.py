"""Settings of the algorithms: what goes in. Frozen pydantic, no torch, no knowledge of grids, stores or clusters.

Every default is part of a stage's content key, so changing one here never returns an old result.
Token counts are in tokens, rates in their field's usual unit, durations end in ``_s``.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from trsp.errors import unknown_name

NonNegativeInt = Annotated[int, Field(ge=0)]
BosPolicy = Literal["auto", "always", "never"]
Precision = Literal["auto", "bf16", "fp32"]


class Settings(BaseModel):
    """Frozen, and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        """Pydantic's own refusal names neither the known keys nor the nearest one."""
        unknown = [str(key) for key in data if key not in cls.model_fields] if isinstance(data, dict) else []
        if unknown:
            raise ValueError("; ".join(unknown_name("key", key, cls.model_fields) for key in unknown))
        return data


class TextSource(Settings):
    """Documents: a local file (``path``: .jsonl, .parquet or .txt with a blank line between documents) or a hub dataset."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="short name, used in metric names: perplexity/NAME")
    path: str | None = Field(None, description="local file: .jsonl, .parquet, or .txt (documents parted by blank lines)")
    dataset: str | None = Field(None, description="hub dataset id, e.g. Salesforce/wikitext")
    config: str | None = Field(None, description="hub dataset configuration, e.g. wikitext-2-raw-v1")
    split: str = "train"
    revision: str = "main"
    field: str = Field("text", description="column that holds the text")
    document_start: str | None = Field(
        None, description="pattern of a row that begins a document, where rows are lines of one; wikitext: '^ = [^=]'"
    )
    max_documents: PositiveInt | None = Field(None, description="read only the first so many documents (streams a hub dataset)")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.dataset is None):
            raise ValueError(f"text source {self.name!r}: give exactly one of 'path' and 'dataset'")
        return self


class CalibrationSettings(Settings):
    """Blocks that both stages and every data-driven selector read. Documents are shuffled by ``seed``, joined and cut."""

    text: TextSource
    blocks: PositiveInt = 128
    block_tokens: Annotated[int, Field(ge=8)] = 2048
    bos: BosPolicy = "auto"


# --- selectors: each gives an order of layers -----------------------------------------------------------------------


class SelectorSettings(Settings):
    """What every selector has. ``uses_*`` say which axes of a grid can change its order; the others collapse."""

    uses_gate_l1: ClassVar[bool] = False
    uses_seed: ClassVar[bool] = True
    uses_text: ClassVar[bool] = True

    protect_first: NonNegativeInt = 0
    protect_last: NonNegativeInt = 0


class GatesSettings(SelectorSettings):
    """TRSP stage one: a learned weight per layer under an l1 penalty, one layer removed a round (METHOD section 1)."""

    uses_gate_l1: ClassVar[bool] = True

    name: Literal["gates"] = "gates"
    preset: Literal["default", "paper"] = Field("default", description="'paper': the literal published settings")
    placement: Literal["output", "residual"] = Field(
        "residual", description="output: s * layer(x), as published; residual: x + s * (layer(x) - x)"
    )
    train_weights: bool = Field(False, description="also train the model's weights, as the authors' code does")
    weights_learning_rate: PositiveFloat = Field(2e-5, description="rate of the weights when train_weights is on")
    reset_each_round: bool = Field(False, description="start every round from gates at 1.0")
    learning_rate: PositiveFloat = Field(1e-2, description="AdamW rate of the gates, constant; times steps_per_round about 1")
    steps_per_round: PositiveInt | None = Field(None, description="default: one pass over the calibration blocks")
    blocks_per_step: PositiveInt = Field(1, description="effective batch, in blocks; independent of the number of GPUs")
    average_steps: bool = Field(True, description="compare the gates' mean over the round's steps, not their last value")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("preset") == "paper":
            return {**PAPER_GATES, **data}
        return data


PAPER_GATES: dict[str, Any] = {
    "placement": "output",
    "train_weights": False,
    "reset_each_round": False,
    "steps_per_round": None,
    "average_steps": False,
    "protect_first": 0,
    "protect_last": 0,
}


class BlockInfluenceSettings(SelectorSettings):
    """ShortGPT: 1 - mean over tokens of cos(layer input, layer output); lowest first, one shot (METHOD section 4)."""

    name: Literal["block_influence"] = "block_influence"


class SlebSettings(SelectorSettings):
    """SLEB: each round bypass every candidate in turn; remove the one whose bypass gives the lowest calibration NLL."""

    name: Literal["sleb"] = "sleb"
    protect_first: NonNegativeInt = 1
    protect_last: NonNegativeInt = 1


class RandomSettings(SelectorSettings):
    """A seeded shuffle of the layers: the control."""

    uses_text: ClassVar[bool] = False

    name: Literal["random"] = "random"


class ReverseSettings(SelectorSettings):
    """Deepest first, the final layer kept: a strong control at 25 %."""

    uses_seed: ClassVar[bool] = False
    uses_text: ClassVar[bool] = False

    name: Literal["reverse"] = "reverse"
    protect_last: NonNegativeInt = 1


Selector = Annotated[
    GatesSettings | BlockInfluenceSettings | SlebSettings | RandomSettings | ReverseSettings, Field(discriminator="name")
]


# --- transfer: what happens to the weights before the chosen layers are deleted --------------------------------------


class NoTransfer(Settings):
    """Delete at once, train nothing."""

    uses_drift: ClassVar[bool] = False
    name: Literal["none"] = "none"


class LoraSettings(Settings):
    """Low-rank adapters (peft) on linear modules of every layer, merged into the weights before deletion."""

    rank: PositiveInt = 16
    alpha: PositiveFloat = 32.0
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description="names of linear modules; all-linear: every one but the output head"
    )


class TrainingSettings(Settings):
    """The training budget. Effective batch = blocks_per_step blocks, whatever the number of GPUs."""

    steps: PositiveInt | None = Field(None, description="default: one pass over the calibration blocks")
    blocks_per_step: PositiveInt = 1
    learning_rate: PositiveFloat = 2e-5
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.03
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0
    lora: LoraSettings | None = Field(None, description="train low-rank adapters instead of all weights; merged at the end")


class DriftSettings(TrainingSettings):
    """TRSP stage two: LM loss + lambda_2 * sum over the chosen layers of the norm of (output - input)."""

    uses_drift: ClassVar[bool] = True

    name: Literal["drift"] = "drift"
    preset: Literal["default", "paper"] = Field("default", description="'paper': the literal published settings")
    norm: Literal["l2", "l1"] = Field("l2", description="l2: Frobenius norm of a sequence's [T, D]; l1: mean absolute value")
    drift_scale: Literal["relative", "absolute"] = Field(
        "relative", description="relative: each token's, by the norm of its input"
    )
    anneal: bool = Field(True, description="also scale the chosen branches from 1 to 0, so that deletion changes nothing")
    anneal_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        0.75, description="share of the steps over which the branches go down; held at 0 after that"
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("preset") == "paper":
            return {**PAPER_DRIFT, **data}
        return data


PAPER_DRIFT: dict[str, Any] = {
    "norm": "l2",
    "drift_scale": "absolute",
    "anneal": False,
    "learning_rate": 2e-5,
    "warmup_ratio": 0.03,
    "weight_decay": 0.0,
}


class HealSettings(TrainingSettings):
    """The control: the same training budget on the LM loss alone, after deletion (the chosen layers are bypassed)."""

    uses_drift: ClassVar[bool] = False

    name: Literal["heal"] = "heal"


Transfer = Annotated[NoTransfer | DriftSettings | HealSettings, Field(discriminator="name")]


# --- evaluation and measurement ---------------------------------------------------------------------------------------


class PerplexitySettings(Settings):
    """Perplexity over fixed, non-overlapping windows: exp of the mean NLL of all predicted tokens."""

    text: TextSource
    window_tokens: Annotated[int, Field(ge=8)] = 2048
    max_windows: PositiveInt | None = None
    bos: BosPolicy = Field("auto", description="BOS at the start of every window; auto: when the tokenizer adds one itself")


class BenchmarkSettings(Settings):
    """lm-eval tasks. ``data``: folder of DATA/TASK/{train,validation,test}.jsonl that stands in for the hub."""

    tasks: tuple[str, ...]
    limit: PositiveInt | None = Field(None, description="items a task; default: all")
    num_fewshot: NonNegativeInt | None = None
    batch_size: PositiveInt = 1
    data: str | None = None


class EvaluationSettings(Settings):
    perplexity: tuple[PerplexitySettings, ...] = ()
    benchmarks: BenchmarkSettings | None = None
    batch_size: PositiveInt = Field(1, description="windows a forward pass, for perplexity")


class MeasurementSettings(Settings):
    """Speed and memory of a checkpoint. ``paper``: METHOD section 3's protocol; ``small``: minutes on a CPU; ``none``."""

    protocol: Literal["paper", "small", "none"] = "small"
    prompt_batch: PositiveInt = 1
    prompt_tokens: PositiveInt = 2048
    prompt_repeats: PositiveInt = 50
    generate_batch: PositiveInt = 64
    generate_prompt_tokens: PositiveInt = 64
    generate_new_tokens: PositiveInt = 128
    generate_repeats: PositiveInt = 10

    @model_validator(mode="before")
    @classmethod
    def _protocol(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("protocol", "small") == "small":
            return {**SMALL_MEASUREMENT, **data}
        return data


SMALL_MEASUREMENT: dict[str, Any] = {
    "prompt_tokens": 128,
    "prompt_repeats": 20,
    "generate_batch": 2,
    "generate_prompt_tokens": 16,
    "generate_new_tokens": 16,
    "generate_repeats": 3,
}


Offload = Literal["none", "cpu", "nvme"]


class EngineSettings(Settings):
    """How a stage is computed, never what: none of this is part of a content key."""

    zero_stage: Annotated[int, Field(ge=0, le=3)] = 2
    micro_batch: PositiveInt = Field(1, description="blocks a forward pass on one rank; the rest is accumulated")
    activation_checkpointing: bool = False
    offload_optimizer: Offload = Field("none", description="where optimizer states live (cpu: ZeRO 1 to 3; nvme: ZeRO 3)")
    offload_weights: Offload = Field("none", description="where weights wait for their layer's turn (ZeRO 3)")
    nvme_path: str | None = Field(None, description="folder on each node's local disk, for offload to nvme")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.offload_optimizer != "none" and self.zero_stage < (3 if self.offload_optimizer == "nvme" else 1):
            raise ValueError(
                f"offload_optimizer: {self.offload_optimizer} with zero_stage {self.zero_stage}; "
                "cpu needs ZeRO 1 to 3, nvme ZeRO 3"
            )
        if self.offload_weights != "none" and self.zero_stage < 3:
            raise ValueError(f"offload_weights: {self.offload_weights} with zero_stage {self.zero_stage}; it needs ZeRO 3")
        if "nvme" in (self.offload_optimizer, self.offload_weights) and not self.nvme_path:
            raise ValueError("offload to nvme needs nvme_path, a folder on each node's local disk")
        return self
