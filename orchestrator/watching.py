"""A grid watched from outside: by its store and the signs of life of whoever drives it.

Starts nothing, and needs no cluster: from any machine that reaches the store.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from orchestrator.coordination.drivers import SignOfLife
from orchestrator.coordination.news import DriverNews, news_of
from orchestrator.kept_grids.document import cancelled_in
from orchestrator.report.standing.live_report import Report
from orchestrator.stages.next_stages import Done
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.store.patience import in_words
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store
from orchestrator.views.build import Activity, ViewBuilder
from orchestrator.views.grid_view import SETTLED, GridView
from orchestrator.views.parts import GridParts, Part
from trsp.errors import TrspError

TICK_S = 1.0  # between two looks, times go on


@dataclass(frozen=True)
class Seen:
    """A grid as it was seen in its store."""

    view: GridView
    news: DriverNews  # of its drivers
    driven: bool  # whether a driver lives that works on it

    @property
    def is_over(self) -> bool:
        """Whether nothing is going to change: nobody drives it, or all of it is done or failed."""
        return not self.driven or all(part.status in SETTLED for part in self.view.parts)


class GridWatch:
    """Looks at one grid again and again; what did not change in the store is not read again."""

    def __init__(self, resolved: Resolved) -> None:
        self._uri, self._key = resolved.grid.storage.store, resolved.key
        self._store = Store(self._uri)
        self._results = StoreResults(self._store)
        self._parts = GridParts(resolved, self._results)
        self._views = ViewBuilder(self._parts)
        self._looked = False

    def look(self) -> Seen:
        """Return the grid as it stands now.

        UnreachableError or StoreError where the store cannot be read. At first it waits some
        seconds for a sign of life of drivers on other machines.
        """
        with in_words(self._uri):
            drivers = self._store.claims.drivers
            signs = (drivers.living() if self._looked else drivers.seen_alive()).values()
            if self._looked:
                self._results.look_for_new_stages()
                self._results.look_again(self._unfinished())
            self._parts.update()
            cancelled = cancelled_in(self._store.grids.load(self._key))
            self._looked = True
        ours = [sign for sign in signs if sign.grid == self._key]
        news = together(news_of(sign.news) for sign in ours)
        activity = activity_of(self._parts.needs, signs, news, driven=bool(ours))
        activity = replace(activity, cancelled=cancelled)
        return Seen(self._views.view(activity), news, bool(ours))

    def _unfinished(self) -> set[str]:
        """Return the keys of all stages of the parts that are not done.

        Not only of those that they need next: a later one ends, and an earlier one's weights go.
        """
        every = (self._parts.dense, self._parts.rankings, self._parts.cells)
        parts: Iterator[Part[Any]] = chain.from_iterable(every)
        return {key for part in parts if not isinstance(part.needed, Done) for key in part.keys}


def together(news: Iterable[DriverNews]) -> DriverNews:
    """Return the news of several drivers of one grid as that of one, from the first one's start."""
    told = [each for each in news if each.began]
    if not told:
        return DriverNews()
    return DriverNews(
        min(each.began for each in told),
        {key: work for each in told for key, work in each.working.items()},
        {key: reason for each in told for key, reason in each.waits.items()},
        {key: reason for each in told for key, reason in each.given_up.items()},
    )


def activity_of(
    needs: Collection[StageSpec], signs: Iterable[SignOfLife], news: DriverNews, *, driven: bool
) -> Activity:
    """Return what is done with the stages that a grid needs next, as far as drivers say.

    A stage runs where its driver says that it computes; where a driver says nothing of its work, or
    works on another grid, where it holds the stage.
    """
    held = {key for sign in signs for key in sign.keys}
    spoken_of = news.waits.keys() | news.given_up.keys()
    running = {
        spec.key: spec.kind
        for spec in needs
        if spec.key in news.working or (spec.key in held and spec.key not in spoken_of)
    }
    live = driven or bool(running)
    return Activity(running, news.waits, news.given_up, live=live)


def follow(
    look: Callable[[], Seen],
    report: Report,
    every_s: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Seen:
    """Show a grid, looked at every ``every_s`` seconds, until it is over; return how that is.

    Raises what the first look raises. Later, a store that gives no answer is said and waited for.
    """
    seen = look()
    with report:
        while True:
            report.show(seen.view)
            for _ in range(max(1, round(every_s / TICK_S))):
                report.tick(seen.news)
                if seen.is_over:
                    return seen
                sleep(min(every_s, TICK_S))
            try:
                seen = look()
            except TrspError as error:
                seen = replace(seen, view=replace(seen.view, behind=str(error)))
