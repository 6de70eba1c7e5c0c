"""Closing the runs of grids whose drivers were killed.

A driver says in MLflow every minute that it lives, by the clock of its machine. Clocks differ: that
it said so long ago is not enough, it must also say nothing while it is watched by one clock, ours.
"""

import time
from collections.abc import Callable, Collection, Iterator

from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.tracking.search import OPEN, kill, of_grid, search_runs
from orchestrator.tracking.written_run import HEARTBEAT

SILENT_S = 15 * 60.0  # a driver not heard of for so long may be dead
WATCHED_S = 150.0  # and is, where it says nothing for so long: two signs of life would have come
LONG_DEAD_S = 24 * 3600.0  # no clock is wrong by a day: such a driver need not be watched


class Orphans:
    """The open runs of an experiment whose grids nobody works on any more.

    ``clock``: seconds that only grow, of this process.
    """

    def __init__(
        self, client: MlflowClient, experiment_id: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client, self._experiment_id, self._clock = client, experiment_id, clock
        self._signs: dict[str, tuple[float, float]] = {}  # by grid: the last one, seen first when
        self.watched = False  # whether the last look left a grid that may be dead

    def close(self, alive_grids: Collection[str], silent_s: float, watched_s: float) -> int:
        """Close the open runs of dead grids; return how many.

        A grid is dead that was not heard of for ``silent_s`` seconds by the time of day, and gave
        no sign of life in ``watched_s`` seconds between two of these calls. Grids of
        ``alive_grids`` (keys) live whatever was heard of them.
        """
        open_runs = [run for run in self._open_runs() if "trsp.grid" in run.data.tags]
        grids = {run.data.tags["trsp.grid"] for run in open_runs} - set(alive_grids)
        silent = {grid: self._silence_s(grid) for grid in grids}
        silent = {grid: each for grid, each in silent.items() if each > silent_s}
        dead = {
            grid
            for grid, silence_s in silent.items()
            if silence_s > LONG_DEAD_S or self._clock() - self._signs[grid][1] >= watched_s
        }
        orphans = [run for run in open_runs if run.data.tags["trsp.grid"] in dead]
        for run in orphans:
            kill(self._client, run.info.run_id, "its job was killed")
        self.watched = dead != silent.keys()
        return len(orphans)

    def _open_runs(self) -> Iterator[Run]:
        """Every run of any grid that is not closed."""
        for status in OPEN:
            query = f"attributes.status = '{status}'"
            yield from search_runs(self._client, self._experiment_id, query)

    def _silence_s(self, grid: str) -> float:
        """How long ago a grid's driver was alive by the time of day; its sign is remembered."""
        query = f"tags.`trsp.kind` = 'grid' AND {of_grid(grid)}"
        runs = search_runs(self._client, self._experiment_id, query)
        sign = max((float(run.data.tags.get(HEARTBEAT, 0)) for run in runs), default=0.0)
        if grid not in self._signs or self._signs[grid][0] != sign:
            self._signs[grid] = sign, self._clock()
        return time.time() - sign
