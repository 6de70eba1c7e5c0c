"""Settings of stage two and its controls: what happens to the weights before deletion."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from trsp.config.settings import LaterSetting, Settings


class NoTransfer(Settings):
    """Delete at once, train nothing."""

    uses_drift: ClassVar[bool] = False
    name: Literal["none"] = "none"


class LoraSettings(Settings):
    """Low-rank adapters (peft) on linear modules of every layer.

    They are merged into the weights before deletion.
    """

    rank: PositiveInt = 16
    alpha: PositiveFloat = 32.0
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear",
        description="names of linear modules; all-linear: every one but the output head",
    )


class TrainingSettings(Settings):
    """The training budget. An effective batch has blocks_per_step blocks on any number of GPUs."""

    steps: PositiveInt | None = Field(
        None, description="default: one pass over the calibration blocks"
    )
    blocks_per_step: PositiveInt = 1
    learning_rate: PositiveFloat = 2e-5
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.03
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0
    lora: Annotated[LoraSettings | None, LaterSetting()] = Field(
        None, description="train low-rank adapters instead of all weights; merged at the end"
    )


class DriftSettings(TrainingSettings):
    """TRSP stage two: LM loss + lambda_2 * sum over the chosen layers of ||output - input||.

    See docs/method.md, sections 1 and 2.
    """

    uses_drift: ClassVar[bool] = True

    name: Literal["drift"] = "drift"
    preset: Literal["default", "paper"] = Field(
        "default", description="'paper': the literal published settings"
    )
    norm: Literal["l2", "l1"] = Field(
        "l2", description="l2: Frobenius norm of a sequence's [T, D]; l1: mean absolute value"
    )
    drift_scale: Literal["relative", "absolute"] = Field(
        "relative", description="relative: each token's, by the norm of its input"
    )
    anneal: bool = Field(
        True,
        description="also scale the chosen branches from 1 to 0, so that deletion changes nothing",
    )
    anneal_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        0.75, description="share of the steps over which the branches go down; held at 0 after that"
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

    name: Literal["heal"] = "heal"


Transfer = Annotated[NoTransfer | DriftSettings | HealSettings, Field(discriminator="name")]
