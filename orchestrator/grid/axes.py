"""The axes of a grid file and their values, and combinations of these. Knows no cells."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveInt,
    model_validator,
)

from orchestrator.grid import shorthand
from trsp.config import (
    NonNegativeInt,
    Selector,
    Settings,
    Transfer,
)

AxisName = Literal["models", "selectors", "ratios", "gate_l1", "drift", "transfer", "seeds"]
AXES: tuple[AxisName, ...] = (
    "models",
    "selectors",
    "ratios",
    "gate_l1",
    "drift",
    "transfer",
    "seeds",
)


def _named(value: Any) -> Any:
    """A bare name stands for a mapping with that name."""
    return {"name": value} if isinstance(value, str) else value


def _sourced(value: Any) -> Any:
    return {"source": value} if isinstance(value, str) else value


class ModelEntry(Settings):
    """A model: a hub id or a local folder, written bare or with more to say about it."""

    source: str = Field(
        min_length=1, description="hub id (meta-llama/Llama-2-7b-hf) or local folder"
    )
    name: str = Field("", description="short name for people; default: the last part of the source")
    revision: str | None = Field(None, description="hub branch, tag or commit; default: main")
    layers: PositiveInt | None = Field(
        None, description="number of layers, for planning without the hub"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_from_source(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("source"), str) and not data.get("name"):
            return {**data, "name": data["source"].rstrip("/").rsplit("/", 1)[-1]}
        return data


Ratio = Annotated[
    float,
    AfterValidator(shorthand.ratio),
    BeforeValidator(shorthand.number, json_schema_input_type=float | str),
]
Strength = Annotated[
    NonNegativeFloat, BeforeValidator(shorthand.number, json_schema_input_type=float | str)
]
ModelItem = Annotated[
    ModelEntry, BeforeValidator(_sourced, json_schema_input_type=ModelEntry | str)
]
SelectorName = Literal["gates", "block_influence", "sleb", "random", "reverse"]
TransferName = Literal["none", "drift", "heal"]
SelectorItem = Annotated[
    Selector, BeforeValidator(_named, json_schema_input_type=Selector | SelectorName)
]
TransferItem = Annotated[
    Transfer, BeforeValidator(_named, json_schema_input_type=Transfer | TransferName)
]
_filled = AfterValidator(shorthand.not_empty)


Models = Annotated[
    tuple[ModelItem, ...],
    _filled,
    BeforeValidator(shorthand.listed, json_schema_input_type=list[ModelItem] | ModelItem),
]


Selectors = Annotated[
    tuple[SelectorItem, ...],
    _filled,
    BeforeValidator(shorthand.listed, json_schema_input_type=list[SelectorItem] | SelectorItem),
]


Ratios = Annotated[
    tuple[Ratio, ...],
    _filled,
    BeforeValidator(shorthand.listed, json_schema_input_type=list[Ratio] | Ratio),
]


Strengths = Annotated[
    tuple[Strength, ...],
    _filled,
    BeforeValidator(shorthand.listed, json_schema_input_type=list[Strength] | Strength),
]


Transfers = Annotated[
    tuple[TransferItem, ...],
    _filled,
    BeforeValidator(shorthand.listed, json_schema_input_type=list[TransferItem] | TransferItem),
]


Seeds = Annotated[
    tuple[NonNegativeInt, ...],
    _filled,
    BeforeValidator(shorthand.listed, json_schema_input_type=list[NonNegativeInt] | NonNegativeInt),
]


Names = Annotated[
    tuple[str, ...],
    _filled,
    BeforeValidator(shorthand.listed, json_schema_input_type=list[str] | str),
]


class Combination(Settings):
    """Part of a combination: the axes it names; the others are left open. Models are meant by their name or source."""

    models: Names | None = None
    selectors: Selectors | None = None
    ratios: Ratios | None = None
    gate_l1: Strengths | None = None
    drift: Strengths | None = None
    transfer: Transfers | None = None
    seeds: Seeds | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError(f"names no axis; give at least one of {', '.join(AXES)}")
        return self
