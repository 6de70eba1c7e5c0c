"""Settings of the selectors: each gives an order of layers."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from trsp.config.settings import NonNegativeInt, Settings


class SelectorSettings(Settings):
    """What every selector has.

    ``uses_*`` say which axes of a grid can change its order; the others collapse.
    """

    uses_gate_l1: ClassVar[bool] = False
    uses_seed: ClassVar[bool] = True
    uses_text: ClassVar[bool] = True

    protect_first: NonNegativeInt = 0
    protect_last: NonNegativeInt = 0


class GatesSettings(SelectorSettings):
    """TRSP stage one: a learned weight per layer under an l1 penalty, one layer removed per round.

    The loss is in docs/method.md, section 1; what the paper leaves open, in section 2.
    """

    uses_gate_l1: ClassVar[bool] = True

    name: Literal["gates"] = "gates"
    preset: Literal["default", "paper"] = Field(
        "default", description="'paper': the literal published settings"
    )
    placement: Literal["output", "residual"] = Field(
        "residual",
        description="output: s * layer(x), as published; residual: x + s * (layer(x) - x)",
    )
    train_weights: bool = Field(
        False, description="also train the model's weights, as the authors' code does"
    )
    weights_learning_rate: PositiveFloat = Field(
        2e-5, description="rate of the weights when train_weights is on"
    )
    reset_each_round: bool = Field(False, description="start every round from gates at 1.0")
    learning_rate: PositiveFloat = Field(
        1e-2, description="AdamW rate of the gates, constant; times steps_per_round about 1"
    )
    steps_per_round: PositiveInt | None = Field(
        None, description="default: one pass over the calibration blocks"
    )
    blocks_per_step: PositiveInt = Field(
        1, description="effective batch, in blocks; independent of the number of GPUs"
    )
    average_steps: bool = Field(
        True, description="compare the gates' mean over the round's steps, not their last value"
    )

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
    """ShortGPT: 1 - mean over tokens of cos(layer input, layer output); lowest first, one shot.

    See docs/method.md, section 4.
    """

    name: Literal["block_influence"] = "block_influence"


class SlebSettings(SelectorSettings):
    """SLEB: each round bypass every candidate in turn, and remove one.

    It is the one whose bypass gives the lowest calibration NLL (docs/method.md, section 4).
    """

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
    GatesSettings | BlockInfluenceSettings | SlebSettings | RandomSettings | ReverseSettings,
    Field(discriminator="name"),
]
