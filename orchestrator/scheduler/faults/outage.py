"""How long a store gives no answer, what is said and shown of it, and when it is asked again.

Knows no store: it is told what failed.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from orchestrator.store.patience import jittered, passes
from orchestrator.views.grid_view import GridView
from trsp.errors import first_line

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0


class StoreOutage:
    """Whether the store fails a driver, which then waits with back-off and goes on.

    ``clock`` gives seconds from any start.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.notice = ""  # for people; "" while the store is there
        self._wait_s = FIRST_WAIT_S
        self._again_at = float("-inf")

    def guard(self, work: Callable[[], None]) -> None:
        """Do what needs the store, unless that fails: it is then left alone, longer each time."""
        if self._clock() < self._again_at:
            return
        try:
            work()
        except OSError as error:
            self._see(error)

    def _see(self, error: OSError) -> None:
        if not self.notice:
            self._wait_s = FIRST_WAIT_S
            said = "the store gives no answer" if passes(error) else "the store fails"
            since = time.strftime("%H:%M:%S")
            why = first_line(error)[:200]
            self.notice = f"behind since {since}: {said} ({why}); what runs goes on"
        self._again_at = self._clock() + jittered(self._wait_s)
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)

    def over(self) -> None:
        """Take up that the store has answered all that was asked."""
        self.notice = ""


class LastView:
    """A grid as it was last seen: without cells where it never was."""

    def __init__(self, key: str, name: str) -> None:
        self._seen = self._shown = GridView(key, name, (), (), ())

    def see(self, view: GridView) -> None:
        """Take up a new view."""
        if view is not self._seen:
            self._seen = self._shown = view

    def with_notices(self, behind: str, avoided: tuple[str, ...]) -> GridView:
        """Return the view with what ails its driver: the same object as long as it is equal."""
        if (self._shown.behind, self._shown.avoided) != (behind, avoided):
            self._shown = replace(self._seen, behind=behind, avoided=avoided)
        return self._shown
