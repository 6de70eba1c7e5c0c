"""Settings of stage two and its controls: what happens to the weights before deletion."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from trsp.config.settings import LaterSetting, Settings


class NoTransfer(Settings):
    """Delete at once, train nothing."""

    uses_drift: ClassVar[bool] = False
    name: Literal["none"] = Field(
        "none", description="this transfer: none; the chosen layers are deleted as they are"
    )


class LoraSettings(Settings):
    """Low-rank adapters (peft) on linear modules of every layer.

    They are merged into the weights before deletion.
    """

    rank: PositiveInt = Field(
        16,
        description="rank of each adapter; memory and what it can learn grow with it",
        examples=[32],
    )
    alpha: PositiveFloat = Field(
        32.0, description="an adapter's output is scaled by alpha / rank", examples=[64]
    )
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear",
        description="names of the linear modules that get an adapter; "
        "all-linear: every one but the output head",
        examples=[["q_proj", "v_proj"]],
    )


class TrainingSettings(Settings):
    """The training budget. An effective batch has blocks_per_step blocks on any number of GPUs."""

    steps: PositiveInt | None = Field(
        None,
        description="optimizer steps, the training budget; default: one pass over the "
        "calibration blocks, which is blocks / blocks_per_step",
        examples=[200],
    )
    blocks_per_step: PositiveInt = Field(
        1,
        description="effective batch, in calibration blocks; the same on any number of GPUs",
        examples=[16],
    )
    learning_rate: PositiveFloat = Field(
        2e-5,
        description="AdamW's highest rate, after the warm-up; it falls linearly to 0 at the last "
        "step. Adapters take about ten times as much, as jobs/70b.yaml does",
        examples=[1e-4],
    )
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.03, description="share of the steps over which the rate rises linearly", examples=[0.1]
    )
    weight_decay: NonNegativeFloat = Field(
        0.0,
        description="share of itself, times the rate, that a weight loses per step (AdamW)",
        examples=[0.01],
    )
    max_grad_norm: PositiveFloat = Field(
        1.0, description="a gradient with a larger norm is scaled down to it", examples=[0.5]
    )
    lora: Annotated[LoraSettings | None, LaterSetting()] = Field(
        None,
        description="train low-rank adapters instead of all weights, merged before deletion: for "
        "models whose full training does not fit; default: all weights",
        examples=[{"rank": 16}],
    )


class DriftSettings(TrainingSettings):
    """TRSP stage two: LM loss + lambda_2 * sum over the chosen layers of ||output - input||.

    See docs/method.md, sections 1 and 2.
    """

    uses_drift: ClassVar[bool] = True

    name: Literal["drift"] = Field(
        "drift", description="this transfer: TRSP's stage two, training while the layers fade out"
    )
    preset: Literal["default", "paper"] = Field(
        "default",
        description="paper: the published settings to the letter, for comparison; "
        "keys given beside it still count",
        examples=["paper"],
    )
    norm: Literal["l2", "l1"] = Field(
        "l2",
        description="how what a layer adds is measured. l2: the Frobenius norm of a sequence's "
        "[T, D] difference; l1: its mean absolute value",
        examples=["l1"],
    )
    drift_scale: Literal["relative", "absolute"] = Field(
        "relative",
        description="relative: each token's drift over the norm of its input, alike in all "
        "models; absolute: as published. Each has its own range of lambda_2 (drift)",
        examples=["absolute"],
    )
    anneal: bool = Field(
        True,
        description="also scale what the chosen layers add from 1 down to 0 during the training, "
        "so that the deletion at its end changes nothing (docs/annealing.md)",
        examples=[False],
    )
    anneal_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        0.75,
        description="share of the steps over which they go down; the rest trains without them. "
        "Less leaves more of the training to the model that is saved",
        examples=[0.4],
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("preset") == "paper":
            return {**PAPER_DRIFT, **data}
        return data

    @property
    def default_strength(self) -> float:
        """The lambda_2 of a training that names none (docs/method.md, section 2).

        The published one on the published scale; on the relative scale 0, which is annealing alone,
        and where nothing is annealed what makes the chosen layers go at all.
        """
        if self.drift_scale == "absolute":
            return 1e-3
        return 0.0 if self.anneal else 0.3

    def misfit(self, strength: float) -> str | None:
        """Return why ``strength`` is no lambda_2 of this scale, and the cure; None where it may be.

        The bounds are explained in docs/method.md, section 2.
        """
        if self.drift_scale == "relative" and 0 < strength <= INERT_RELATIVE_STRENGTH:
            return (
                f"lambda_2 = {strength:g} changes nothing under drift_scale: relative; take 0, or "
                "0.1 to 1; a strength like this belongs to drift_scale: absolute (preset: paper)"
            )
        if (self.drift_scale, self.norm) != ("absolute", "l2"):
            return None
        if strength > LARGEST_ABSOLUTE_STRENGTH:
            return (
                f"lambda_2 = {strength:g} outweighs the language-model loss under drift_scale: "
                "absolute; take 1e-4 to 1e-2; a strength like this belongs to drift_scale: relative"
            )
        return None


INERT_RELATIVE_STRENGTH = 1e-2
LARGEST_ABSOLUTE_STRENGTH = 0.03

PAPER_DRIFT: dict[str, Any] = {
    "norm": "l2",
    "drift_scale": "absolute",
    "anneal": False,
    "learning_rate": 2e-5,
    "warmup_ratio": 0.03,
    "weight_decay": 0.0,
}


class HealSettings(TrainingSettings):
    """The control: the same training budget on the LM loss alone, after deletion.

    The chosen layers are bypassed.
    """

    uses_drift: ClassVar[bool] = False

    name: Literal["heal"] = Field(
        "heal", description="this transfer: plain training after deletion, the control to beat"
    )


Transfer = Annotated[NoTransfer | DriftSettings | HealSettings, Field(discriminator="name")]
