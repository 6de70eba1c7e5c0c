"""The grid file: what is asked for, as frozen pydantic types, and its JSON Schema.

Knows neither what a model holds nor what the store has. The JSON Schema is kept in
``orchestrator/grid.schema.json`` (``trsp schema`` writes it): grid files name that path in their
second line, so it stays there wherever this module lies.
"""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

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
from orchestrator.grid.shorthand import AUTO
from orchestrator.grid.yaml_file import expand_variables, explain, read_yaml
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
    """One file: the product of its axes, less ``exclude``, plus ``include``;
    and what all its cells share."""

    name: str = Field("", description="default: the file's name without .yaml")

    models: Models
    selectors: Selectors = (GatesSettings(),)
    ratios: Ratios = (0.25,)
    gate_l1: Strengths = Field(
        (5e-3,), description="lambda_1, the strength of the l1 penalty on the gates"
    )
    drift: Strengths | None = Field(
        None,
        description="lambda_2, the strength of stage two's drift penalty; default: the transfer's "
        "own (docs/method.md, section 2)",
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
        """Refuse what no field sees alone: names used twice or unknown, zips, and budgets."""
        _check_unique("models: model name", [model.name for model in self.models])
        texts = [perplexity.text.name for perplexity in self.evaluation.perplexity]
        _check_unique("evaluation.perplexity: text name", texts)
        _check_unique("budgets: name", [budget.alias for budget in self.budgets])
        _check_zip(self)
        _check_auto(self)
        for combination in (*self.include, *self.exclude):
            for name in combination.models or ():
                self.model(name)
        for budget in self.budgets:
            _check_budget(self, budget)
        return self

    @property
    def default_metric(self) -> str:
        """The metric of a budget that names none: the first perplexity, or the mean accuracy."""
        perplexity = self.evaluation.perplexity
        return f"perplexity/{perplexity[0].text.name}" if perplexity else "accuracy"

    @property
    def headline_metrics(self) -> tuple[str, ...]:
        """What tables show: every perplexity, and the mean accuracy where there are benchmarks."""
        names = [f"perplexity/{p.text.name}" for p in self.evaluation.perplexity]
        return (*names, "accuracy") if self.evaluation.benchmarks else tuple(names)

    def metric(self, budget: Budget) -> str:
        """Return the metric to choose by under a budget of this grid."""
        return budget.metric or self.default_metric

    def model(self, name: str) -> ModelEntry:
        """Return the model entry with this name or source; ValueError when there is none."""
        for entry in self.models:
            if name in (entry.name, entry.source):
                return entry
        raise ValueError(unknown_name("model", name, [entry.name for entry in self.models]))


def _check_unique(what: str, names: list[str]) -> None:
    """Raise ValueError for the first name, by the alphabet, that is used more than once."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what} {twice[0]!r} is used twice; give one of them another 'name'")


def _check_zip(grid: Grid) -> None:
    """Raise ValueError unless every zip has two axes or more, of one length and of no other zip."""
    zipped = [axis for group in grid.zip for axis in group]
    for axis in zipped:
        if zipped.count(axis) > 1:
            raise ValueError(f"zip: {axis!r} stands there twice; an axis moves with one group only")
    for group in grid.zip:
        lengths = {axis: len(getattr(grid, axis) or (None,)) for axis in group}
        if len(group) < 2:
            raise ValueError(f"zip: {list(group)} is not a group; name at least two axes")
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{axis} has {n}" for axis, n in lengths.items())
            raise ValueError(f"zip: axes that move together need equally many values, but {counts}")


def _check_auto(grid: Grid) -> None:
    """Raise ValueError where ``ratios: auto`` has no budget to go by."""
    axes = [grid.ratios, *(combination.ratios or () for combination in grid.include)]
    if any(AUTO in ratios for ratios in axes) and not any(each.limits for each in grid.budgets):
        raise ValueError(
            "ratios: auto takes the fewest layers that meet each budget, but the file has none; "
            "add budgets: [{max_params: 5B}], or write ratios such as [1/10, 1/5]"
        )


def _check_budget(grid: Grid, budget: Budget) -> None:
    """Raise ValueError for a budget whose metric or latency this grid does not measure."""
    metric = grid.metric(budget)
    tasks = grid.evaluation.benchmarks.tasks if grid.evaluation.benchmarks else ()
    known = [f"perplexity/{p.text.name}" for p in grid.evaluation.perplexity]
    if tasks:
        known.append("accuracy")
    if metric not in known and metric.partition("/")[0] not in tasks:
        known += [f"{task}/acc" for task in tasks]
        raise ValueError(f"budget {budget.alias}: {unknown_name('metric', metric, known)}")
    if budget.max_latency_ms is not None and grid.measurement.protocol == "none":
        raise ValueError(
            f"budget {budget.alias} limits latency, but measurement.protocol is none; "
            "set it to small or paper"
        )


def load_grid(path: Path | str) -> Grid:
    """Read and check a grid file. InvalidInputError names the file, the place and the cure."""
    path = Path(path)
    data = expand_variables(read_yaml(path), path)
    if not data.get("name"):
        data["name"] = path.stem
    try:
        return Grid.model_validate(data)
    except ValidationError as error:
        raise InvalidInputError(explain(error, path)) from None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema by which an editor completes and checks grid files."""
    schema = Grid.model_json_schema(mode="validation")
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**dialect, **_with_whole_summaries(schema)}


def _with_whole_summaries(schema: Any) -> Any:
    """Return the schema with each description's summary on one line: docstrings are wrapped."""
    if isinstance(schema, list):
        return [_with_whole_summaries(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {key: _with_whole_summaries(value) for key, value in schema.items()}
    description = whole.get("description")
    if isinstance(description, str):
        summary, blank, rest = description.partition("\n\n")
        whole["description"] = summary.replace("\n", " ") + blank + rest
    return whole
