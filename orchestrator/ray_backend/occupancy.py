"""What a cluster has for one launcher: Ray's figures, less what other jobs hold.

Asked for at every step, so that a look at the cluster is believed for a second; a stage that ended
calls for another.
"""

import time
from collections.abc import Callable, Iterable

from ray._private.state import available_resources_per_node

from orchestrator.layouts.capacity import Capacity
from orchestrator.ray_backend.cluster import capacity_of, staying_nodes
from orchestrator.ray_backend.others import Amounts, OtherJobs, Place, taken_of

LOOK_S = 1.0
LAG_S = 5.0  # by then Ray has counted what has ended


class Occupancy:
    """A cluster as one launcher sees it; ``clock`` gives seconds."""

    def __init__(self, with_gpus: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._with_gpus = with_gpus
        self._clock = clock
        self._others = OtherJobs()
        self._ended: list[tuple[float, Place]] = []
        self._looked = float("-inf")
        self._capacity = Capacity(cpus=0)

    @property
    def due(self) -> bool:
        """Whether ``look`` is to be called before ``capacity`` is true."""
        return self._clock() - self._looked >= LOOK_S

    @property
    def capacity(self) -> Capacity:
        """What the cluster had for us at the last look."""
        return self._capacity

    def look(self, placed: Iterable[Place], waiting: Iterable[Amounts]) -> None:
        """Look at the cluster anew, given our processes that run and what those take that wait."""
        now = self._looked = self._clock()
        self._ended = [(when, place) for when, place in self._ended if now - when < LAG_S]
        nodes = staying_nodes()
        totals = {node["NodeID"]: node["Resources"] for node in nodes}
        held = self._others.look(
            taken_of(totals, available_resources_per_node()),
            placed,
            waiting,
            [place for _, place in self._ended],
        )
        self._capacity = capacity_of(nodes, held, self._with_gpus)

    def ended(self, places: Iterable[Place]) -> None:
        """Take note that processes of ours have ended: there is something new to see."""
        self._ended += [(self._clock(), place) for place in places]
        self._looked = float("-inf")
