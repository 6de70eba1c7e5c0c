"""The axes of a grid file, the types of their values, and combinations of these. Knows no cells."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from orchestrator.grid.shorthand import Ratio, Strength, as_tuple, check_filled
from trsp.config import NonNegativeInt, Selector, Settings, Transfer

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


def _name_as_mapping(value: Any) -> Any:
    """Return a bare name as the mapping ``{"name": value}``, and anything else as it came."""
    return {"name": value} if isinstance(value, str) else value


def _source_as_mapping(value: Any) -> Any:
    """Return a bare source as the mapping ``{"source": value}``, and anything else as it came."""
    return {"source": value} if isinstance(value, str) else value


class ModelEntry(Settings):
    """A model: a hub id or a local folder, written bare or with more to say about it."""

    source: str = Field(
        min_length=1,
        description="hub id or local folder, in transformers' format with safetensors",
        examples=["meta-llama/Llama-2-7b-hf"],
    )
    name: str = Field(
        "",
        description="short name for people; default: the last part of the source",
        examples=["Llama-2-7b"],
    )
    revision: str | None = Field(
        None,
        description="branch, tag or commit on the hub; a commit where a study must not move; "
        "default: main",
        examples=["main"],
    )
    layers: PositiveInt | None = Field(
        None,
        description="number of layers, so that trsp plan can count cells without the hub; default: "
        "what the model's config says",
        examples=[32],
    )
    latency_ms: PositiveFloat | None = Field(
        None,
        description="prompt latency of the unpruned model on the hardware of the measurement, as "
        "`trsp measure` shows it: what ratios: auto judges max_latency_ms by; default: "
        "not known",
        examples=[410],
    )

    @model_validator(mode="before")
    @classmethod
    def _name_from_source(cls, data: Any) -> Any:
        """Fill in the name that is left out: the last part of the source."""
        if isinstance(data, dict) and isinstance(data.get("source"), str) and not data.get("name"):
            return {**data, "name": data["source"].rstrip("/").rsplit("/", 1)[-1]}
        return data


ModelItem = Annotated[
    ModelEntry, BeforeValidator(_source_as_mapping, json_schema_input_type=ModelEntry | str)
]
SelectorName = Literal["gates", "block_influence", "sleb", "random", "reverse"]
TransferName = Literal["none", "drift", "heal"]
SelectorItem = Annotated[
    Selector, BeforeValidator(_name_as_mapping, json_schema_input_type=Selector | SelectorName)
]
TransferItem = Annotated[
    Transfer, BeforeValidator(_name_as_mapping, json_schema_input_type=Transfer | TransferName)
]

_filled = AfterValidator(check_filled)
Models = Annotated[
    tuple[ModelItem, ...],
    _filled,
    BeforeValidator(as_tuple, json_schema_input_type=list[ModelItem] | ModelItem),
]
Selectors = Annotated[
    tuple[SelectorItem, ...],
    _filled,
    BeforeValidator(as_tuple, json_schema_input_type=list[SelectorItem] | SelectorItem),
]
Ratios = Annotated[
    tuple[Ratio, ...],
    _filled,
    BeforeValidator(as_tuple, json_schema_input_type=list[Ratio] | Ratio),
]
Strengths = Annotated[
    tuple[Strength, ...],
    _filled,
    BeforeValidator(as_tuple, json_schema_input_type=list[Strength] | Strength),
]
Transfers = Annotated[
    tuple[TransferItem, ...],
    _filled,
    BeforeValidator(as_tuple, json_schema_input_type=list[TransferItem] | TransferItem),
]
Seeds = Annotated[
    tuple[NonNegativeInt, ...],
    _filled,
    BeforeValidator(as_tuple, json_schema_input_type=list[NonNegativeInt] | NonNegativeInt),
]
Names = Annotated[
    tuple[str, ...],
    _filled,
    BeforeValidator(as_tuple, json_schema_input_type=list[str] | str),
]


class Combination(Settings):
    """Part of a combination: the axes it names; the others are left open.
    Models are meant by their name or source."""

    models: Names | None = Field(
        None,
        description="names or sources of models of the grid; default: all",
        examples=["Llama-2-7b"],
    )
    selectors: Selectors | None = Field(
        None,
        description="selectors, as in the grid's key; default: all",
        examples=[["block_influence", "sleb"]],
    )
    ratios: Ratios | None = Field(
        None,
        description="shares of the layers, as in the grid's key; default: all",
        examples=["7/32"],
    )
    gate_l1: Strengths | None = Field(
        None, description="strengths lambda_1, as in the grid's key; default: all", examples=[5e-3]
    )
    drift: Strengths | None = Field(
        None,
        description="strengths lambda_2, as in the grid's key; default: all",
        examples=[[0.1, 0.3]],
    )
    transfer: Transfers | None = Field(
        None,
        description="transfers, as in the grid's key; default: all",
        examples=[["none", "heal"]],
    )
    seeds: Seeds | None = Field(
        None, description="random seeds, as in the grid's key; default: all", examples=[[0, 1, 2]]
    )

    @model_validator(mode="after")
    def _names_an_axis(self) -> Self:
        """Refuse a combination that names no axis: it would stand for everything."""
        if not self.model_fields_set:
            raise ValueError(f"names no axis; give at least one of {', '.join(AXES)}")
        return self
