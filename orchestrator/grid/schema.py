"""The grid file: what is asked for, as frozen pydantic types.

Knows neither what a model holds nor what the store has.
"""

from pathlib import Path
from typing import Literal, Self

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

    name: str = Field(
        "",
        description="short name: begins the registry's aliases; default: the file's name without "
        ".yaml",
        examples=["llama-7b"],
    )

    models: Models = Field(
        description="models to prune: hub ids or local folders, by their source or as mappings "
        "with more to say",
        examples=[["meta-llama/Llama-2-7b-hf", "/models/Mistral-7B"]],
    )
    selectors: Selectors = Field(
        (GatesSettings(),),
        description="how layers are ranked, by name or as mappings with settings: gates (stage "
        "one), block_influence, sleb, random, reverse",
        examples=[["gates", "block_influence"]],
    )
    ratios: Ratios = Field(
        (0.25,),
        description="share of the layers to remove, as 0.25, 25% or 1/4; of L layers ratio * L "
        "go, rounded half up. One ranking serves all ratios. auto: of each model the fewest layers "
        "that meet each of the budgets (docs/budgets.md)",
        examples=[["10%", "1/4", 0.5]],
    )
    gate_l1: Strengths = Field(
        (5e-3,),
        description="lambda_1, the strength of the l1 penalty on the gates; a ranking for each",
        examples=[[1e-3, 5e-3]],
    )
    drift: Strengths | None = Field(
        None,
        description="lambda_2, the strength of stage two's drift penalty; default: the transfer's "
        "own (docs/method.md, section 2)",
        examples=[[0.1, 0.3]],
    )
    transfer: Transfers = Field(
        (DriftSettings(),),
        description="what happens to the weights, by name or as mappings with settings: drift "
        "(stage two), none, heal (the same training after deletion)",
        examples=[["drift", "none", "heal"]],
    )
    seeds: Seeds = Field(
        (0,),
        description="of everything random: which calibration blocks are cut, the random selector. "
        "Several show how much results spread",
        examples=[[0, 1, 2]],
    )
    include: tuple[Combination, ...] = Field(
        (),
        description="combinations added to the product; axes that one leaves open take all the "
        "grid's values",
        examples=[[{"selectors": "block_influence", "transfer": ["none", "heal"]}]],
    )
    exclude: tuple[Combination, ...] = Field(
        (),
        description="combinations of the product left out",
        examples=[[{"selectors": "sleb", "ratios": 0.5}]],
    )
    zip: tuple[tuple[AxisName, ...], ...] = Field(
        (),
        description="groups of axes of equal length that move together, not as a product",
        examples=[[["gate_l1", "drift"]]],
    )

    calibration: CalibrationSettings = Field(
        description="the text that both stages learn from, and the blocks cut from it",
        examples=[{"text": {"name": "wiki", "path": "/data/wiki-train.jsonl"}, "blocks": 32}],
    )
    evaluation: EvaluationSettings = Field(
        EvaluationSettings(),
        description="what every checkpoint and the dense model are scored on",
        examples=[{"benchmarks": {"tasks": ["piqa", "arc_easy"]}}],
    )
    measurement: MeasurementSettings = Field(
        default_factory=lambda: MeasurementSettings.model_validate({}),
        description="how speed and memory are measured, once per number and types of layers",
        examples=[{"protocol": "small"}],
    )
    precision: Precision = Field(
        "auto",
        description="of weights and arithmetic: bf16, fp32, or auto, the checkpoint's own "
        "(float16 becomes bf16)",
        examples=["bf16"],
    )
    engine: Literal["auto"] | EngineSettings = Field(
        "auto",
        description="how trainings are laid out by DeepSpeed; auto: chosen by the estimate of "
        "their memory. No result depends on it beyond rounding",
        examples=[{"zero_stage": 3, "micro_batch": 2}],
    )
    budgets: tuple[Budget, ...] = Field(
        (),
        description="limits under each of which trsp best chooses a checkpoint, and the registry "
        "gets an alias",
        examples=[[{"max_params": "5B"}, {"max_latency_ms": 250, "metric": "accuracy"}]],
    )
    resources: ResourcesItem = Field(
        Resources(),
        description="what stages may take, and how often they may fail; changes no result",
        examples=[{"use_gpus": True, "cpus_per_rank": 8}],
    )
    storage: Storage = Field(
        default_factory=Storage,
        description="where results are kept",
        examples=[{"store": "s3://bucket/trsp"}],
    )
    tracking: Tracking = Field(
        default_factory=Tracking,
        description="where MLflow shows them",
        examples=[{"uri": "http://mlflow:5000"}],
    )

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

    @property
    def follows_budgets(self) -> bool:
        """Whether the grid's cells depend on its budgets: by ``ratios: auto``."""
        axes = [self.ratios, *(combination.ratios or () for combination in self.include)]
        return any(AUTO in ratios for ratios in axes)

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
    if grid.follows_budgets and not any(each.limits for each in grid.budgets):
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
