"""Settings of the selectors: each gives an order of layers."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from trsp.config.settings import NonNegativeInt, Settings

FirstLayers = Annotated[
    NonNegativeInt,
    Field(description="so many layers at the input are never removed", examples=[2]),
]
LastLayers = Annotated[
    NonNegativeInt,
    Field(
        description="so many layers at the output are never removed; 1 or more for gates with "
        "placement: output, whose last gate measures nothing (docs/output_gate.md)",
        examples=[4],
    ),
]


class SelectorSettings(Settings):
    """What every selector has.

    ``uses_*`` say which axes of a grid can change its order; the others collapse.
    """

    uses_gate_l1: ClassVar[bool] = False
    uses_seed: ClassVar[bool] = True
    uses_text: ClassVar[bool] = True

    protect_first: FirstLayers = 0
    protect_last: LastLayers = 0


class GatesSettings(SelectorSettings):
    """TRSP stage one: a learned weight per layer under an l1 penalty, one layer removed per round.

    The loss is in docs/method.md, section 1; what the paper leaves open, in section 2.
    """

    uses_gate_l1: ClassVar[bool] = True

    name: Literal["gates"] = Field(
        "gates", description="this selector: gates learned under an l1 penalty, TRSP's stage one"
    )
    preset: Literal["default", "paper"] = Field(
        "default",
        description="paper: the published settings to the letter, for comparison; "
        "keys given beside it still count",
        examples=["paper"],
    )
    placement: Literal["output", "residual"] = Field(
        "residual",
        description="what a gate s scales. residual: what the layer adds, x + s * (layer(x) - x); "
        "output: all that leaves it, s * layer(x), as published (docs/output_gate.md)",
        examples=["output"],
    )
    train_weights: bool = Field(
        False,
        description="also train the model's weights in stage one, as the authors' code does; "
        "needs the memory of stage two",
        examples=[True],
    )
    weights_learning_rate: PositiveFloat = Field(
        2e-5, description="AdamW's rate of the weights where train_weights is on", examples=[1e-5]
    )
    reset_each_round: bool = Field(
        False,
        description="start every round with all gates at 1.0; else each goes on from its value",
        examples=[True],
    )
    learning_rate: PositiveFloat = Field(
        1e-2,
        description="AdamW's rate of the gates, constant. A gate moves by about this much per "
        "step, so choose it with steps_per_round: their product about 1 lets it go from 1 to 0",
        examples=[0.1],
    )
    steps_per_round: PositiveInt | None = Field(
        None,
        description="optimizer steps before a layer is chosen: more are surer and cost as much "
        "more; default: one pass over the calibration blocks",
        examples=[8],
    )
    blocks_per_step: PositiveInt = Field(
        1,
        description="effective batch, in calibration blocks; the same on any number of GPUs. "
        "Larger ones make less noisy gates",
        examples=[4],
    )
    average_steps: bool = Field(
        True,
        description="compare the gates' mean over the round's steps, which noise moves less, "
        "not their last value",
        examples=[False],
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

    name: Literal["block_influence"] = Field(
        "block_influence",
        description="this selector: ShortGPT's block influence, a single forward pass",
    )


class SlebSettings(SelectorSettings):
    """SLEB: each round bypass every candidate in turn, and remove one.

    It is the one whose bypass gives the lowest calibration NLL (docs/method.md, section 4).
    """

    name: Literal["sleb"] = Field(
        "sleb", description="this selector: SLEB, a forward pass per candidate and round"
    )
    protect_first: FirstLayers = 1
    protect_last: LastLayers = 1


class RandomSettings(SelectorSettings):
    """A seeded shuffle of the layers: the control."""

    uses_text: ClassVar[bool] = False

    name: Literal["random"] = Field(
        "random", description="this selector: a shuffle by the seed, the control of every method"
    )


class ReverseSettings(SelectorSettings):
    """Deepest first, the final layer kept: a strong control at 25 %."""

    uses_seed: ClassVar[bool] = False
    uses_text: ClassVar[bool] = False

    name: Literal["reverse"] = Field(
        "reverse", description="this selector: the deepest layers first, without any data"
    )
    protect_last: LastLayers = 1


Selector = Annotated[
    GatesSettings | BlockInfluenceSettings | SlebSettings | RandomSettings | ReverseSettings,
    Field(discriminator="name"),
]
