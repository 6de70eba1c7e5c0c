"""How a grid went: its rankings, what failed and why, and what the stages took."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean

from orchestrator.redact import redact
from orchestrator.report.page.tables import Column, PageTable, Value, duration, text
from orchestrator.report.printing import format_number
from orchestrator.stages.stage_specs import StageKind
from orchestrator.views.grid_view import CellView, DenseView, GridView, RankingView, Status

_FAILED = (Status.FAILED, Status.KILLED)

_KINDS: Mapping[str, str] = {
    StageKind.RANKING: "ranking",
    StageKind.DENSE: "evaluate the unpruned model",
}


@dataclass(frozen=True)
class Failure:
    """Why some parts of a grid are not there. ``names``: of the cells and references it hits."""

    stage: str
    reason: str
    names: tuple[str, ...]


def failures(view: GridView) -> tuple[Failure, ...]:
    """Return what failed, parts that share a stage and a reason together."""
    found: dict[tuple[str, str], list[str]] = {}
    for part in view.parts:
        if part.status in _FAILED:
            stage = part.stage if isinstance(part, CellView) else str(StageKind.DENSE)
            found.setdefault((stage, redact(part.reason)), []).append(_name(part))
    return tuple(Failure(stage, reason, tuple(names)) for (stage, reason), names in found.items())


def _name(part: CellView | DenseView) -> str:
    if isinstance(part, CellView):
        return part.cell.name
    return f"{part.model.name} (unpruned)"


def ranking_table(view: GridView) -> PageTable:
    """Return a row per ranking: how far it is, the order it found, and by how much."""
    columns = (
        Column("ranking"),
        Column("status"),
        Column("rounds", numeric=True),
        Column("order, first removed first", wide=True),
        Column("smallest margin", numeric=True),
        Column("time", numeric=True),
        Column("cells", numeric=True),
    )
    return PageTable(columns, tuple(_ranking_row(each) for each in view.rankings))


def _ranking_row(ranking: RankingView) -> tuple[Value, ...]:
    rounds = ranking.rounds[: ranking.depth]
    margins = [each.margin for each in rounds if each.margin is not None]
    seconds = sum(each.seconds for each in rounds)
    remarks = tuple(filter(None, (redact(ranking.reason), ranking.slowed)))
    return (
        text(ranking.name),
        Value(ranking.status, ranking.status, tone=ranking.status, notes=remarks),
        text(f"{len(rounds)} of {ranking.depth}", len(rounds)),
        text(", ".join(str(each.layer) for each in rounds) or None),
        text(format_number(min(margins)), min(margins)) if margins else text(None),
        text(duration(seconds), seconds) if rounds else text(None),
        text(len(ranking.cells), len(ranking.cells)),
    )


def cost_table(view: GridView) -> PageTable:
    """Return a row per kind of stage: how many are done, and the wall time that they took.

    What several cells share counts once.
    """
    by_kind: dict[str, list[float]] = {}
    for kind, seconds in _stage_seconds(view):
        by_kind.setdefault(kind, []).append(seconds)
    columns = (
        Column("stages"),
        Column("done", numeric=True),
        Column("mean", numeric=True),
        Column("in all", numeric=True),
    )
    rows = [_cost_row(kind, times) for kind, times in by_kind.items()]
    if rows:
        rows.append(_cost_row("all", [each for times in by_kind.values() for each in times]))
    return PageTable(columns, tuple(rows))


def _cost_row(kind: str, times: list[float]) -> tuple[Value, ...]:
    return (
        text(_KINDS.get(kind, kind)),
        text(len(times), len(times)),
        text(duration(fmean(times)), fmean(times)),
        text(duration(sum(times)), sum(times)),
    )


def _stage_seconds(view: GridView) -> Iterator[tuple[str, float]]:
    """Yield the kind and the seconds of every stage that is known to be done."""
    for ranking in view.rankings:
        if ranking.rounds:
            yield StageKind.RANKING, sum(each.seconds for each in ranking.rounds)
    for dense in view.dense:
        if dense.evaluation is not None:
            yield StageKind.DENSE, dense.evaluation.seconds
        if dense.measurement is not None:
            yield StageKind.MEASURE, dense.measurement.seconds
    known: dict[str, tuple[str, float]] = {}
    for cell in view.cells:
        for kind, seconds in cell.seconds.items():
            if kind == StageKind.RANKING:
                continue  # counted already
            known[cell.stage_keys.get(kind, cell.cell.key + kind)] = kind, seconds
    yield from known.values()
