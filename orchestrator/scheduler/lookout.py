"""What other drivers, and rankings that run, have changed in the store: asked every few seconds.

The only place that asks the store again without a cause of our own. Knows no policy.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.results import StoreResults

LOOK_EVERY_S = 2.0  # at the claims of others, and at rankings that grow
LOOKS_PER_LISTING = 8  # of what stages there are
RANKINGS_PER_LOOK = 8  # the others come next time


class Lookout:
    """What one driver knows of the claims of others."""

    def __init__(
        self,
        results: StoreResults,
        held_elsewhere: Callable[[], Mapping[str, str]],
        clock: Callable[[], float],
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        """``held_elsewhere``: asks the store who else works on what, by the stage's key."""
        self._results, self._held_elsewhere, self._clock = results, held_elsewhere, clock
        self._every_s = every_s
        self._listed_claims: dict[str, str] = {}
        self._refused: dict[str, str] = {}  # since the last look
        self._looked = self._listed = float("-inf")
        self._rankings: deque[str] = deque()  # the one that was not asked about longest is first

    @property
    def held(self) -> dict[str, str]:
        """Who else works on stages, by key, as last seen."""
        return self._listed_claims | self._refused

    def see_claim(self, key: str, holder: str) -> None:
        """Take up that a claim of ours was refused: it is believed until the next look."""
        self._refused[key] = holder

    def look(self, running: Iterable[str]) -> None:
        """Ask the store what is new, if that is due. ``running``: the stages that run here."""
        now = self._clock()
        if now - self._looked < self._every_s:
            return
        for key in self._refused:
            self._results.forget(key)
        self._refused = {}
        self.look_at_claims()
        if now - self._listed >= LOOKS_PER_LISTING * self._every_s:
            self._results.look_for_new_stages()
            self._listed = now
        self._look_at_rankings((*running, *self._listed_claims))
        self._looked = now

    def look_at_claims(self) -> None:
        """Ask who else works on what. A stage that was let go of may be done by now.

        While the store cannot be read, all is as it was.
        """
        try:
            held = dict(self._held_elsewhere())
        except OSError:
            return
        for key in self._listed_claims.keys() - held.keys():
            self._results.forget(key)
        self._listed_claims = held

    def _look_at_rankings(self, at_work: Iterable[str]) -> None:
        """Ask some of the rankings that are worked on for their next rounds, in turns."""
        grow = {key for key in at_work if key.rpartition("-")[0] == StageKind.RANKING}
        waiting = [key for key in self._rankings if key in grow]
        self._rankings = deque([*sorted(grow - {*waiting}), *waiting])
        asked = [self._rankings.popleft() for _ in range(min(RANKINGS_PER_LOOK, len(grow)))]
        self._results.look_at_rankings(asked)
        self._rankings.extend(asked)
