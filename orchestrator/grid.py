"""The grid file: what is wanted, as frozen pydantic types. Knows neither what a model holds nor what the store has."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from orchestrator import shorthand
from orchestrator.gridfile import expand, expand_text, explain, read_yaml
from trsp.config import (
    CalibrationSettings,
    DriftSettings,
    EngineSettings,
    EvaluationSettings,
    GatesSettings,
    MeasurementSettings,
    NonNegativeInt,
    Precision,
    Selector,
    Settings,
    Transfer,
)
from trsp.errors import InvalidInputError, unknown_name

AxisName = Literal["models", "selectors", "ratios", "gate_l1", "drift", "transfer", "seeds"]
AXES: tuple[AxisName, ...] = ("models", "selectors", "ratios", "gate_l1", "drift", "transfer", "seeds")


def _named(value: Any) -> Any:
    """A bare name stands for a mapping with that name."""
    return {"name": value} if isinstance(value, str) else value


def _sourced(value: Any) -> Any:
    return {"source": value} if isinstance(value, str) else value


class ModelEntry(Settings):
    """A model: a hub id or a local folder, written bare or with more to say about it."""

    source: str = Field(min_length=1, description="hub id (meta-llama/Llama-2-7b-hf) or local folder")
    name: str = Field("", description="short name for people; default: the last part of the source")
    revision: str | None = Field(None, description="hub branch, tag or commit; default: main")
    layers: PositiveInt | None = Field(None, description="number of layers, for planning without the hub")

    @model_validator(mode="before")
    @classmethod
    def _name_from_source(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("source"), str) and not data.get("name"):
            return {**data, "name": data["source"].rstrip("/").rsplit("/", 1)[-1]}
        return data


Ratio = Annotated[float, AfterValidator(shorthand.ratio), BeforeValidator(shorthand.number, json_schema_input_type=float | str)]
Strength = Annotated[NonNegativeFloat, BeforeValidator(shorthand.number, json_schema_input_type=float | str)]
Count = Annotated[PositiveInt, BeforeValidator(shorthand.count, json_schema_input_type=int | float | str)]
Bytes = Annotated[PositiveInt, BeforeValidator(shorthand.size_bytes, json_schema_input_type=int | float | str)]
ModelItem = Annotated[ModelEntry, BeforeValidator(_sourced, json_schema_input_type=ModelEntry | str)]
SelectorName = Literal["gates", "block_influence", "sleb", "random", "reverse"]
TransferName = Literal["none", "drift", "heal"]
SelectorItem = Annotated[Selector, BeforeValidator(_named, json_schema_input_type=Selector | SelectorName)]
TransferItem = Annotated[Transfer, BeforeValidator(_named, json_schema_input_type=Transfer | TransferName)]

_filled = AfterValidator(shorthand.not_empty)
Models = Annotated[
    tuple[ModelItem, ...], _filled, BeforeValidator(shorthand.listed, json_schema_input_type=list[ModelItem] | ModelItem)
]
Selectors = Annotated[
    tuple[SelectorItem, ...],
    _filled,
    BeforeValidator(shorthand.listed, json_schema_input_type=list[SelectorItem] | SelectorItem),
]
Ratios = Annotated[tuple[Ratio, ...], _filled, BeforeValidator(shorthand.listed, json_schema_input_type=list[Ratio] | Ratio)]
Strengths = Annotated[
    tuple[Strength, ...], _filled, BeforeValidator(shorthand.listed, json_schema_input_type=list[Strength] | Strength)
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
Names = Annotated[tuple[str, ...], _filled, BeforeValidator(shorthand.listed, json_schema_input_type=list[str] | str)]


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


class Budget(Settings):
    """Limits a checkpoint must keep, and the metric to choose by under them."""

    name: str = Field("", pattern=r"^[A-Za-z0-9_-]*$", description="registry alias; default: made of the limits")
    max_params: Count | None = None
    max_bytes: Bytes | None = Field(None, description="size of the checkpoint's weights")
    max_latency_ms: PositiveFloat | None = Field(None, description="prompt latency on the hardware of the measurement")
    max_kv_bytes_per_token: Bytes | None = None
    metric: str | None = Field(None, description="e.g. perplexity/wiki or accuracy; default: the first perplexity")

    @property
    def limits(self) -> dict[str, float]:
        """Limit by the metric that it limits (the names of ``CellView.metrics``)."""
        limits = {
            "params": self.max_params,
            "bytes": self.max_bytes,
            "latency_ms": self.max_latency_ms,
            "kv_bytes_per_token": self.max_kv_bytes_per_token,
        }
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def alias(self) -> str:
        """``best-params-110m``: its name, or one made of the limits (and of the metric where it is given)."""
        if self.name:
            return self.name
        parts = []
        if self.max_params is not None:
            parts.append(f"params-{shorthand.short_count(self.max_params)}")
        if self.max_bytes is not None:
            parts.append(f"bytes-{shorthand.short_count(self.max_bytes, ('b', 'kb', 'mb', 'gb'))}")
        if self.max_latency_ms is not None:
            parts.append(f"latency-{shorthand.short_count(self.max_latency_ms, ('',))}ms")
        if self.max_kv_bytes_per_token is not None:
            parts.append(f"kv-{shorthand.short_count(self.max_kv_bytes_per_token, ('b', 'kb', 'mb', 'gb'))}")
        if self.metric is not None:
            parts.append("".join(c if c.isalnum() or c == "_" else "-" for c in self.metric))
        return "-".join(["best", *parts])


class Resources(Settings):
    """What stages may take, how they are laid out and how often they may fail. None of it changes a result.

    ``auto`` in place of all of it: every layout is chosen by an estimate of its memory.
    """

    cpus_per_rank: PositiveInt = 1
    use_gpus: Literal["auto"] | bool = Field("auto", description="one a rank; auto: where the cluster has any now")
    ranks: Literal["auto"] | PositiveInt = Field(
        "auto", description="processes of a training stage; auto: as few as its memory needs"
    )
    max_ranks: PositiveInt | None = Field(None, description="most that a stage may be given; default: all that the cluster has")
    gpu_memory: Bytes | None = Field(None, description="of one GPU; default: that of the cluster's type of accelerator")
    memory: Bytes | None = Field(
        None, description="host memory that all stages together may take where there are no GPUs; default: the cluster's"
    )
    max_parallel: PositiveInt | None = Field(
        None, description="stages at once; default: as many as fit. Set it where nodes come when stages wait for them"
    )
    max_attempts: PositiveInt = Field(2, description="of a stage that makes no progress; one that does may be lost more often")
    timeout_s: PositiveFloat | None = Field(None, description="wall time of one attempt of one stage")
    hang_timeout_s: PositiveFloat = Field(1800, description="a training stage without a step for so long hangs, and is ended")
    snapshot_every_s: PositiveFloat = Field(600, description="how much training a lost rank or node may cost")
    snapshot_every_steps: PositiveInt | None = None


def _auto_resources(value: Any) -> Any:
    return {} if value == "auto" else value


ResourcesItem = Annotated[Resources, BeforeValidator(_auto_resources, json_schema_input_type=Resources | Literal["auto"])]


def _absolute(location: str) -> str:
    """A job's working directory is thrown away: local locations are made absolute."""
    return location if "://" in location else os.path.abspath(location)


class Storage(Settings):
    store: Annotated[str, BeforeValidator(expand_text), AfterValidator(_absolute)] = Field(
        "${TRSP_HOME:-~/.trsp}/store", validate_default=True, description="folder or URI (s3://bucket/prefix) of stage results"
    )
    keep_transfer_weights: bool = Field(False, description="keep stage two's weights after the checkpoint is written")


class Tracking(Settings):
    uri: Annotated[str, BeforeValidator(expand_text)] = Field(
        "sqlite:///${TRSP_HOME:-~/.trsp}/mlflow.db", validate_default=True, description="MLflow tracking URI"
    )
    experiment: str = Field("trsp", min_length=1)
    ui_url: str | None = Field(None, description="where people reach the MLflow UI; for the printed links")


class Grid(Settings):
    """One file: the product of its axes, less ``exclude``, plus ``include``; and what all its cells share."""

    name: str = Field("", description="default: the file's name without .yaml")

    models: Models
    selectors: Selectors = (GatesSettings(),)
    ratios: Ratios = (0.25,)
    gate_l1: Strengths = Field((5e-3,), description="lambda_1, the strength of the l1 penalty on the gates")
    drift: Strengths = Field((1e-3,), description="lambda_2, the strength of stage two's drift penalty")
    transfer: Transfers = (DriftSettings(),)
    seeds: Seeds = (0,)
    include: tuple[Combination, ...] = Field((), description="combinations added; axes left open take all the grid's values")
    exclude: tuple[Combination, ...] = Field((), description="combinations of the product left out")
    zip: tuple[tuple[AxisName, ...], ...] = Field((), description="axes of equal length that move together")

    calibration: CalibrationSettings
    evaluation: EvaluationSettings = EvaluationSettings()
    measurement: MeasurementSettings = Field(default_factory=lambda: MeasurementSettings.model_validate({}))
    precision: Precision = "auto"
    engine: Literal["auto"] | EngineSettings = Field("auto", description="auto: chosen by the estimate of its memory")
    budgets: tuple[Budget, ...] = ()
    resources: Annotated[Resources, BeforeValidator(_auto_resources, json_schema_input_type=Resources | Literal["auto"])] = (
        Resources()
    )
    storage: Storage = Field(default_factory=Storage)
    tracking: Tracking = Field(default_factory=Tracking)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_names("models: model name", [model.name for model in self.models])
        _check_names("evaluation.perplexity: text name", [p.text.name for p in self.evaluation.perplexity])
        _check_names("budgets: name", [budget.alias for budget in self.budgets])
        _check_zip(self)
        for key in ("include", "exclude"):
            for combination in getattr(self, key):
                for name in combination.models or ():
                    self.model(name)
        for budget in self.budgets:
            _check_budget(self, budget)
        return self

    @property
    def default_metric(self) -> str:
        """What a budget without a metric goes by: the first perplexity, or else the mean accuracy."""
        perplexity = self.evaluation.perplexity
        return f"perplexity/{perplexity[0].text.name}" if perplexity else "accuracy"

    @property
    def headline_metrics(self) -> tuple[str, ...]:
        """What tables show: every perplexity, and the mean accuracy where there are benchmarks."""
        names = [f"perplexity/{p.text.name}" for p in self.evaluation.perplexity]
        return (*names, "accuracy") if self.evaluation.benchmarks else tuple(names)

    def metric(self, budget: Budget) -> str:
        return budget.metric or self.default_metric

    def model(self, name: str) -> ModelEntry:
        """The entry with this name or source."""
        for entry in self.models:
            if name in (entry.name, entry.source):
                return entry
        raise ValueError(unknown_name("model", name, [entry.name for entry in self.models]))


def _check_names(what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what} {twice[0]!r} is used twice; give one of them another 'name'")


def _check_zip(grid: Grid) -> None:
    zipped = [axis for group in grid.zip for axis in group]
    for axis in zipped:
        if zipped.count(axis) > 1:
            raise ValueError(f"zip: {axis!r} stands there twice; an axis moves with one group only")
    for group in grid.zip:
        lengths = {axis: len(getattr(grid, axis)) for axis in group}
        if len(group) < 2:
            raise ValueError(f"zip: {list(group)} is not a group; name at least two axes")
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{axis} has {n}" for axis, n in lengths.items())
            raise ValueError(f"zip: axes that move together need equally many values, but {found}")


def _check_budget(grid: Grid, budget: Budget) -> None:
    metric = grid.metric(budget)
    tasks = grid.evaluation.benchmarks.tasks if grid.evaluation.benchmarks else ()
    known = [f"perplexity/{p.text.name}" for p in grid.evaluation.perplexity] + ["accuracy"] * bool(tasks)
    if metric not in known and metric.partition("/")[0] not in tasks:
        raise ValueError(f"budget {budget.alias}: {unknown_name('metric', metric, [*known, *(f'{t}/acc' for t in tasks)])}")
    if budget.max_latency_ms is not None and grid.measurement.protocol == "none":
        raise ValueError(f"budget {budget.alias} limits latency, but measurement.protocol is none; set it to small or paper")


def load_grid(path: Path | str) -> Grid:
    """Read, expand and check a grid file. InvalidInputError names the file, the place and the cure."""
    path = Path(path)
    data = expand(read_yaml(path), path)
    if not data.get("name"):
        data["name"] = path.stem
    try:
        return Grid.model_validate(data)
    except ValidationError as error:
        raise InvalidInputError(explain(error, path)) from None


def json_schema() -> dict[str, Any]:
    """The JSON Schema by which an editor completes and checks grid files."""
    schema = Grid.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
