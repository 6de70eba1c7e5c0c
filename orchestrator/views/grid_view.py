"""What a grid looks like at one moment: frozen views for the report, the choice of best and MLflow.

``views/build.py`` makes them from the store; nothing here remembers anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

from orchestrator.grid.budgets import Budget
from orchestrator.grid.cells import Cell, ModelInfo
from trsp.records import (
    CheckpointRecord,
    EvaluationRecord,
    MeasurementRecord,
    RoundRecord,
    TransferRecord,
)

# By kind of stage, what its result was computed with: versions of libraries, and the device's name.
# Scores are those of ``evaluate``, also of the unpruned model; empty where that was not recorded.
Versions = Mapping[str, Mapping[str, str]]


class Status(StrEnum):
    WAITING = "waiting"  # ``reason`` says for what
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # ``reason`` says why, in one line
    KILLED = "killed"  # its driver ended before this was done; ``reason`` says why


OVER = (Status.DONE, Status.FAILED, Status.KILLED)
SETTLED = (Status.DONE, Status.FAILED)  # over, and not because somebody stopped it


@dataclass(frozen=True)
class DenseView:
    """The unpruned model: the reference of its cells."""

    model: ModelInfo
    status: Status
    reason: str = ""
    checkpoint: CheckpointRecord | None = None
    evaluation: EvaluationRecord | None = None
    measurement: MeasurementRecord | None = None
    versions: Versions = field(default_factory=dict)
    stage_keys: Mapping[str, str] = field(default_factory=dict)  # by kind

    def metrics(self) -> dict[str, float]:
        """Return every number that is known of the model, by the names that cells use."""
        return _metrics(self.checkpoint, self.evaluation, self.measurement)


@dataclass(frozen=True)
class RankingView:
    """One ranking, shared by ``cells`` (their keys)."""

    key: str
    name: str  # "SmolLM2-135M gates l1=0.005"
    model: str
    selector: str
    gate_l1: float | None
    seed: int
    depth: int  # rounds that the deepest cell needs
    rounds: tuple[RoundRecord, ...]  # of these, those published so far
    cells: tuple[str, ...]
    status: Status
    reason: str = ""

    @property
    def order(self) -> tuple[int, ...]:
        """The layers removed so far, first removed first."""
        return tuple(round_.layer for round_ in self.rounds)

    @property
    def ranked(self) -> int:
        """How many of the ``depth`` layers are ranked; the store may hold more for other grids."""
        return min(len(self.rounds), self.depth)

    @property
    def slowed(self) -> str:
        """At which share of the settings' learning rate it was learned; "" where at the whole."""
        return _slowed({"rank": lowest_rate(self.rounds)})


@dataclass(frozen=True)
class CellView:
    """One cell with all that is known of it."""

    cell: Cell
    ranking_key: str
    status: Status
    stage: str = ""  # kind of the stage that it is in or waits for
    reason: str = ""
    layers: tuple[int, ...] | None = None  # that it removes, first removed first
    stage_keys: Mapping[str, str] = field(default_factory=dict)  # by kind, as far as known
    transfer: TransferRecord | None = None
    checkpoint: CheckpointRecord | None = None
    checkpoint_uri: str | None = None  # folder that AutoModelForCausalLM loads
    evaluation: EvaluationRecord | None = None
    measurement: MeasurementRecord | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)  # wall time of each kind of stage
    # Seconds since the epoch: when the first of its own stages began, and the last one ended, as
    # far as their results say. A ranking, and a speed measured before, are not its own.
    began: float | None = None
    ended: float | None = None
    versions: Versions = field(default_factory=dict)
    # By kind, the shares of the settings' learning rates that the trainings behind it were computed
    # at: those below 1, after a run that diverged.
    rate_scales: Mapping[str, float] = field(default_factory=dict)

    @property
    def slowed(self) -> str:
        """The ``rate_scales`` in words: ``rank at 0.5 of the learning rate``; "" without any."""
        return _slowed(self.rate_scales)

    def metrics(self) -> dict[str, float]:
        """Return every number that a budget may limit or be met best by, under one name each."""
        return _metrics(self.checkpoint, self.evaluation, self.measurement)


def lowest_rate(rounds: Sequence[RoundRecord]) -> float:
    """Return the smallest share of the settings' learning rate that a round was learned at."""
    return min((round_.rate_scale for round_ in rounds), default=1.0)


def _slowed(rate_scales: Mapping[str, float]) -> str:
    lowered = [(kind, scale) for kind, scale in rate_scales.items() if scale < 1]
    return ", ".join(f"{kind} at {scale:g} of the learning rate" for kind, scale in lowered)


def _metrics(
    checkpoint: CheckpointRecord | None,
    evaluation: EvaluationRecord | None,
    measurement: MeasurementRecord | None,
) -> dict[str, float]:
    """Return the numbers of the records that are there, by name.

    ``params, bytes, kv_bytes_per_token, perplexity/wiki, piqa/acc_norm, accuracy, latency_ms, ...``
    """
    metrics: dict[str, float] = {}
    if checkpoint:
        metrics["params"] = checkpoint.params
        metrics["bytes"] = checkpoint.size_bytes
        metrics["kv_bytes_per_token"] = checkpoint.kv_bytes_per_token
    if evaluation:
        metrics |= {name: score.value for name, score in evaluation.scores.items()}
    if measurement:
        metrics["latency_ms"] = measurement.prompt_latency_ms
        metrics["generate_latency_ms"] = measurement.generate_latency_ms
        metrics["prompt_tokens_per_s"] = measurement.prompt_tokens_per_s
        metrics["generate_tokens_per_s"] = measurement.generate_tokens_per_s
        metrics["peak_memory_bytes"] = measurement.peak_memory_bytes
    return metrics


# How the names end of metrics that a measurement gives: times, and with them memory.
TIMES = ("latency_ms", "tokens_per_s")
MEASURED = (*TIMES, "memory_bytes")


@dataclass(frozen=True)
class GridView:
    """The whole grid. ``key`` names its content; ``name`` is the file's."""

    key: str
    name: str
    cells: tuple[CellView, ...]
    rankings: tuple[RankingView, ...]
    dense: tuple[DenseView, ...]
    settings: Mapping[str, object] = field(default_factory=dict)  # the resolved grid file
    metrics: tuple[str, ...] = ()  # those that tables show, the first of them most
    budgets: tuple[Budget, ...] = ()
    status: Status = Status.RUNNING
    reason: str = ""
    behind: str = ""  # since when its driver has had no answer of the store, and what it got
    avoided: tuple[str, ...] = ()  # a line for each node that no stage is started on, and why

    @property
    def parts(self) -> tuple[DenseView | CellView, ...]:
        """Everything that can be done or fail: the references, then the cells."""
        return (*self.dense, *self.cells)

    @property
    def notices(self) -> tuple[str, ...]:
        """Lines for what ails the grid's driver now; none where all is well."""
        return (*((self.behind,) if self.behind else ()), *self.avoided)


View = TypeVar("View", GridView, RankingView, DenseView, CellView)


def concluded(view: GridView) -> GridView:
    """Return the view with the status of a driven grid: it has failed where a part has.

    So it has where cells were cancelled: not all that it asks for is there.

    It is left as it is (RUNNING) until every cell and reference is done or failed.
    """
    if any(part.status in (Status.RUNNING, Status.WAITING) for part in view.parts):
        return view
    parts = len(view.parts)
    said = [
        f"{count} of {parts} {word}"
        for status, word in ((Status.FAILED, "failed"), (Status.KILLED, "cancelled"))
        if (count := sum(part.status is status for part in view.parts))
    ]
    if not said:
        return replace(view, status=Status.DONE)
    return replace(view, status=Status.FAILED, reason=", ".join(said))


def stopped(view: GridView, reason: str) -> GridView:
    """The view of a grid whose driver was stopped: KILLED, also where others have done the rest."""
    return replace(killed(view, reason), status=Status.KILLED, reason=reason)


def killed(view: GridView, reason: str) -> GridView:
    """Return the view of a grid whose driver ends now: what is not over is KILLED for ``reason``.

    That goes for the grid itself, its cells, rankings and references; what is over stays as it is.
    """
    return replace(
        _killed(view, reason),
        cells=tuple(_killed(cell, reason) for cell in view.cells),
        rankings=tuple(_killed(ranking, reason) for ranking in view.rankings),
        dense=tuple(_killed(dense, reason) for dense in view.dense),
    )


def _killed(view: View, reason: str) -> View:
    if view.status in OVER:
        return view
    return replace(view, status=Status.KILLED, reason=reason)
