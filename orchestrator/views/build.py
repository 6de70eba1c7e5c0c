"""From the store to a view of the grid, with what a driver adds to that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple

from orchestrator.stages.next_stages import Done
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.results import StoreResults
from orchestrator.views.grid_view import CellView, DenseView, GridView, RankingView, Status
from orchestrator.views.parts import GridParts, Part, PartView

CANCELLED = "cancelled by "  # begins the reason of what people have cancelled


@dataclass(frozen=True)
class Activity:
    """What a driver is doing with its stages, by key."""

    running: Mapping[str, StageKind] = field(default_factory=dict)
    waits: Mapping[str, str] = field(default_factory=dict)  # what those that wait, wait for
    given_up: Mapping[str, str] = field(default_factory=dict)  # why
    notes: Mapping[str, str] = field(default_factory=dict)  # what is unusual about a running one
    cancelled: Mapping[str, str] = field(default_factory=dict)  # why, by the keys of cells
    live: bool = False  # False: nobody is at work, and what has failed before counts as failed


class ViewBuilder:
    """Makes views of one grid, one after another, that share all that is equal in them.

    What did not change from one view to the next is the same object in both, to the whole view.
    """

    def __init__(self, parts: GridParts) -> None:
        self._parts = parts
        self._dense: _Stood[DenseView] = _Stood()
        self._rankings: _Stood[RankingView] = _Stood()
        self._cells: _Stood[CellView] = _Stood()
        resolved = parts.resolved
        self._empty = GridView(
            key=resolved.key,
            name=resolved.grid.name,
            cells=(),
            rankings=(),
            dense=(),
            settings=resolved.grid.model_dump(mode="json"),
            metrics=resolved.grid.headline_metrics,
            budgets=resolved.grid.budgets,
        )
        self._last = self._empty

    def view(self, activity: Activity) -> GridView:
        """Return the grid with its parts as they were last updated."""
        parts, results, last = self._parts, self._parts.results, self._last
        dense = self._dense.views(parts.dense, results, activity)
        rankings = self._rankings.views(parts.rankings, results, activity)
        cells = self._cells.views(parts.cells, results, activity)
        status = _grid_status((*dense, *cells), activity)
        same = last.dense is dense and last.rankings is rankings and last.cells is cells
        if not same or last.status is not status:
            self._last = replace(
                self._empty, dense=dense, rankings=rankings, cells=cells, status=status
            )
        return self._last


def _grid_status(parts: Sequence[DenseView | CellView], activity: Activity) -> Status:
    """Return DONE where every part is; else whether somebody is at work."""
    if all(part.status is Status.DONE for part in parts):
        return Status.DONE
    return Status.RUNNING if activity.live else Status.WAITING


class _Standing(NamedTuple):
    """How a stage stands, and with it whoever needs it next; ``kind`` is "" where all is done."""

    status: Status
    kind: str = ""
    reason: str = ""


class _Stood(Generic[PartView]):
    """Some parts as they stood when they were last looked at."""

    def __init__(self) -> None:
        self._parts: list[Part[PartView]] = []
        self._standings: list[_Standing] = []
        self._views: tuple[PartView, ...] = ()

    def views(
        self, parts: Sequence[Part[PartView]], results: StoreResults, activity: Activity
    ) -> tuple[PartView, ...]:
        """Return the view of each part; those that stand as they did are the same objects."""
        standings = [_standing(part, results, activity) for part in parts]
        views: list[PartView] = []
        changed = not self._parts
        for index, (part, standing) in enumerate(zip(parts, standings, strict=True)):
            known = bool(self._parts) and self._parts[index] is part
            if known and self._standings[index] == standing:
                views.append(self._views[index])
            else:
                views.append(_stand(part.view, standing))
                changed = True
        if changed:
            self._parts, self._standings, self._views = list(parts), standings, tuple(views)
        return self._views


def _standing(
    part: Part[CellView] | Part[DenseView] | Part[RankingView],
    results: StoreResults,
    activity: Activity,
) -> _Standing:
    """Return how a part stands: as the stage does that it needs next, unless it was cancelled."""
    if isinstance(part.needed, Done):
        return _Standing(Status.DONE)
    if activity.cancelled and (reason := _cancelled(part.view, activity.cancelled)):
        return _Standing(Status.KILLED, part.needed.kind, reason)
    key, kind = part.needed.key, part.needed.kind
    if key in activity.given_up:
        return _Standing(Status.FAILED, kind, activity.given_up[key])
    if key in activity.running:
        notes = filter(None, (part.progress, activity.notes.get(key, "")))
        return _Standing(Status.RUNNING, kind, "; ".join(notes))
    failure = results.unreadable(key) or ("" if activity.live else results.failure(key))
    if failure:
        return _Standing(Status.FAILED, kind, failure)
    return _Standing(Status.WAITING, kind, activity.waits.get(key, "") or part.progress)


def _cancelled(view: CellView | DenseView | RankingView, cancelled: Mapping[str, str]) -> str:
    """Return why a cell was cancelled, or all cells of a ranking; "" for what goes on."""
    if isinstance(view, DenseView):
        return ""
    keys = (view.cell.key,) if isinstance(view, CellView) else view.cells
    return cancelled[keys[0]] if all(key in cancelled for key in keys) else ""


def _stand(view: PartView, standing: _Standing) -> PartView:
    """Return the view of a part that stands so; a cell's says in which stage."""
    changes: dict[str, Any] = {"status": standing.status, "reason": standing.reason}
    if isinstance(view, CellView):
        changes["stage"] = standing.kind
    return replace(view, **changes)
