"""The grid file: what is wanted, as frozen pydantic types. Knows neither what a model holds nor what the store has."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from orchestrator.grid.axes import (
    AxisName,
    Combination,
    ModelEntry,
    Models,
    Ratios,
    Seeds,
    Selectors,
    Strengths,
    Transfers,
)
from orchestrator.grid.budgets import Budget
from orchestrator.grid.run_settings import Resources, ResourcesItem, Storage, Tracking
from orchestrator.grid.yaml_file import expand, explain, read_yaml
from trsp.config import (
    CalibrationSettings,
    DriftSettings,
    EngineSettings,
    EvaluationSettings,
    GatesSettings,
    MeasurementSettings,
    Precision,
    Settings,
)
from trsp.errors import InvalidInputError, unknown_name


class Grid(Settings):
    """One file: the product of its axes, less ``exclude``, plus ``include``; and what all its cells share."""

    name: str = Field("", description="default: the file's name without .yaml")

    models: Models
    selectors: Selectors = (GatesSettings(),)
    ratios: Ratios = (0.25,)
    gate_l1: Strengths = Field(
        (5e-3,), description="lambda_1, the strength of the l1 penalty on the gates"
    )
    drift: Strengths = Field(
        (1e-3,), description="lambda_2, the strength of stage two's drift penalty"
    )
    transfer: Transfers = (DriftSettings(),)
    seeds: Seeds = (0,)
    include: tuple[Combination, ...] = Field(
        (), description="combinations added; axes left open take all the grid's values"
    )
    exclude: tuple[Combination, ...] = Field((), description="combinations of the product left out")
    zip: tuple[tuple[AxisName, ...], ...] = Field(
        (), description="axes of equal length that move together"
    )

    calibration: CalibrationSettings
    evaluation: EvaluationSettings = EvaluationSettings()
    measurement: MeasurementSettings = Field(
        default_factory=lambda: MeasurementSettings.model_validate({})
    )
    precision: Precision = "auto"
    engine: Literal["auto"] | EngineSettings = Field(
        "auto", description="auto: chosen by the estimate of its memory"
    )
    budgets: tuple[Budget, ...] = ()
    resources: ResourcesItem = Resources()
    storage: Storage = Field(default_factory=Storage)
    tracking: Tracking = Field(default_factory=Tracking)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_names("models: model name", [model.name for model in self.models])
        _check_names(
            "evaluation.perplexity: text name", [p.text.name for p in self.evaluation.perplexity]
        )
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
    known = [f"perplexity/{p.text.name}" for p in grid.evaluation.perplexity] + ["accuracy"] * bool(
        tasks
    )
    if metric not in known and metric.partition("/")[0] not in tasks:
        raise ValueError(
            f"budget {budget.alias}: {unknown_name('metric', metric, [*known, *(f'{t}/acc' for t in tasks)])}"
        )
    if budget.max_latency_ms is not None and grid.measurement.protocol == "none":
        raise ValueError(
            f"budget {budget.alias} limits latency, but measurement.protocol is none; set it to small or paper"
        )


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
