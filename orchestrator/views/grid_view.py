"""What a grid looks like at one moment: frozen views that the report, the choice of best and MLflow are made from.

Built from the store by ``controller.look``; nothing here remembers anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from orchestrator.grid.cells import Cell, ModelInfo
from trsp.records import (
    CheckpointRecord,
    EvaluationRecord,
    MeasurementRecord,
    RoundRecord,
    TransferRecord,
)


class Status(StrEnum):
    WAITING = "waiting"  # ``reason`` says for what
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # ``reason`` says why, in one line
    KILLED = "killed"


@dataclass(frozen=True)
class DenseView:
    """The unpruned model: the reference of its cells."""

    model: ModelInfo
    status: Status
    reason: str = ""
    checkpoint: CheckpointRecord | None = None
    evaluation: EvaluationRecord | None = None
    measurement: MeasurementRecord | None = None


@dataclass(frozen=True)
class RankingView:
    """One ranking, shared by ``cells`` (their keys)."""

    key: str
    name: str  # "SmolLM2-135M gates l1=0.005"
    model: str
    selector: str
    gate_l1: float | None
    seed: int
    depth: int  # rounds wanted
    rounds: tuple[RoundRecord, ...]
    cells: tuple[str, ...]
    status: Status
    reason: str = ""

    @property
    def order(self) -> tuple[int, ...]:
        return tuple(r.layer for r in self.rounds)


@dataclass(frozen=True)
class CellView:
    """One cell with all that is known of it. ``stage`` is the kind of stage it is in or waits for."""

    cell: Cell
    ranking_key: str
    status: Status
    stage: str = ""
    reason: str = ""
    layers: tuple[int, ...] | None = None  # first removed first
    stage_keys: Mapping[str, str] = field(default_factory=dict)  # kind -> key, as far as known
    transfer: TransferRecord | None = None
    checkpoint: CheckpointRecord | None = None
    checkpoint_uri: str | None = None  # folder that AutoModelForCausalLM loads
    evaluation: EvaluationRecord | None = None
    measurement: MeasurementRecord | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)  # kind -> wall time of the stage

    def metrics(self) -> dict[str, float]:
        """Every number a budget may limit or rank by, under one name each."""
        return metrics(self.checkpoint, self.evaluation, self.measurement)


def metrics(
    checkpoint: CheckpointRecord | None,
    evaluation: EvaluationRecord | None,
    measurement: MeasurementRecord | None,
) -> dict[str, float]:
    """``params, bytes, kv_bytes_per_token, perplexity/wiki, piqa/acc_norm, accuracy, latency_ms, ...``."""
    found: dict[str, float] = {}
    if checkpoint:
        found |= {
            "params": checkpoint.params,
            "bytes": checkpoint.size_bytes,
            "kv_bytes_per_token": checkpoint.kv_bytes_per_token,
        }
    if evaluation:
        found |= {name: score.value for name, score in evaluation.scores.items()}
    if measurement:
        found |= {
            "latency_ms": measurement.prompt_latency_ms,
            "generate_latency_ms": measurement.generate_latency_ms,
            "prompt_tokens_per_s": measurement.prompt_tokens_per_s,
            "generate_tokens_per_s": measurement.generate_tokens_per_s,
            "peak_memory_bytes": measurement.peak_memory_bytes,
        }
    return found


@dataclass(frozen=True)
class GridView:
    """The whole grid. ``key`` names its content; ``name`` is the file's."""

    key: str
    name: str
    cells: tuple[CellView, ...]
    rankings: tuple[RankingView, ...]
    dense: tuple[DenseView, ...]
    settings: Mapping[str, object] = field(default_factory=dict)  # the resolved grid file
    status: Status = Status.RUNNING
    reason: str = ""

    @property
    def parts(self) -> tuple["DenseView | CellView", ...]:
        """Everything that can be done or fail: the references, then the cells."""
        parts: list[DenseView | CellView] = [*self.dense, *self.cells]
        return tuple(parts)


def concluded(view: GridView) -> GridView:
    """RUNNING until every cell and reference is done or failed; a grid with a failed part has failed."""
    if any(part.status in (Status.RUNNING, Status.WAITING) for part in view.parts):
        return view
    failed = sum(part.status is Status.FAILED for part in view.parts)
    if not failed:
        return replace(view, status=Status.DONE)
    return replace(view, status=Status.FAILED, reason=f"{failed} of {len(view.parts)} failed")


def killed(view: GridView, reason: str) -> GridView:
    """Everything that was not over is KILLED."""
    over = (Status.DONE, Status.FAILED)
    return replace(
        view,
        cells=tuple(
            c if c.status in over else replace(c, status=Status.KILLED, reason=reason)
            for c in view.cells
        ),
        rankings=tuple(
            r if r.status in over else replace(r, status=Status.KILLED, reason=reason)
            for r in view.rankings
        ),
        dense=tuple(
            d if d.status in over else replace(d, status=Status.KILLED, reason=reason)
            for d in view.dense
        ),
        status=Status.KILLED,
        reason=reason,
    )
