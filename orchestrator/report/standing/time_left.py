"""How long a grid has still to go, estimated from what its driver has done so far.

Knows views and a clock only.
"""

from collections.abc import Callable, Iterator, Mapping
from statistics import fmean

from orchestrator.stages.stage_specs import StageKind
from orchestrator.views.grid_view import CellView, GridView, Status

_OPEN = (Status.WAITING, Status.RUNNING)


class TimeLeft:
    """An estimate: the mean seconds of what is left to do, at the pace of this driver so far.

    The pace is the seconds of stages done per second gone by, so it knows of parallel stages and of
    their start-up. No estimate is given until every kind of stage that is known to be left has been
    seen once.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun: float | None = None
        self._done_before: set[str] = set()

    def seconds(self, view: GridView) -> float | None:
        """Return about how long it still takes; None where there is no estimate, or nothing left.

        The first view tells what was done before this driver began.
        """
        done = _done(view)
        if self._begun is None:
            self._begun, self._done_before = self._clock(), set(done)
        worked_s = sum(s for key, (_, s) in done.items() if key not in self._done_before)
        means = _mean_seconds(done)
        left = list(_left(view))
        if not worked_s or not left or not means.keys() >= set(left):
            return None
        return sum(means[kind] for kind in left) * (self._clock() - self._begun) / worked_s


def _done(view: GridView) -> dict[str, tuple[str, float]]:
    """Every stage and every ranking's round that is done: its kind and seconds, by key.

    The kind of a round is its ranking's key: rounds of different rankings differ too much.
    """
    done: dict[str, tuple[str, float]] = {}
    for cell in view.cells:
        for kind, seconds in cell.seconds.items():
            done[cell.stage_keys[kind]] = (kind, seconds)
    for ranking in view.rankings:
        for record in ranking.rounds:
            done[f"{ranking.key} {record.round}"] = (ranking.key, record.seconds)
    return done


def _mean_seconds(done: Mapping[str, tuple[str, float]]) -> dict[str, float]:
    by_kind: dict[str, list[float]] = {}
    for kind, seconds in done.values():
        by_kind.setdefault(kind, []).append(seconds)
    return {kind: fmean(seconds) for kind, seconds in by_kind.items()}


def _left(view: GridView) -> Iterator[str]:
    """The kinds of what is not done, each stage once; a ranking's rounds under its key."""
    for ranking in view.rankings:
        if ranking.status in _OPEN:
            yield from [ranking.key] * (ranking.depth - len(ranking.rounds))
    cells = [cell for cell in view.cells if cell.status in _OPEN]
    yield from _known_stages(cells).values()
    for cell in cells:
        if cell.layers is None:  # what it will share is not known yet
            yield from (StageKind.PRUNE, StageKind.EVALUATE)
            if cell.cell.transfer.name != "none":
                yield StageKind.TRANSFER


def _known_stages(cells: list[CellView]) -> dict[str, str]:
    """The kinds of the stages left of cells whose layers are chosen, by key: shared ones once."""
    known: dict[str, str] = {}
    for cell in cells:
        if not cell.layers:
            continue
        for kind, key in cell.stage_keys.items():
            if kind not in cell.seconds and kind != StageKind.RANKING:
                known[key] = kind
    return known
