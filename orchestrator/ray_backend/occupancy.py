"""What a cluster has for one launcher: Ray's figures, less what other jobs hold.

Asked for at every step, so that a look at the cluster is believed for a second; a stage that ended
calls for another.
"""

import time
from collections.abc import Callable, Collection

from ray._private.state import available_resources_per_node

from orchestrator.layouts.capacity import Capacity
from orchestrator.ray_backend.cluster import capacity_of, staying_nodes
from orchestrator.ray_backend.sharing.begun import Signs
from orchestrator.ray_backend.sharing.others import OtherJobs, Place, taken_of
from orchestrator.ray_backend.sharing.submitted import Submitted, hear, places_of, waiting_of

LOOK_S = 1.0
LAG_S = 5.0  # by then Ray has counted what has ended


class Occupancy:
    """A cluster as one launcher sees it; ``clock`` gives seconds."""

    def __init__(
        self, with_gpus: bool, signs: Signs, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._with_gpus = with_gpus
        self._signs = signs
        self._clock = clock
        self._others = OtherJobs()
        self._avoided: frozenset[str] = frozenset()
        self._ended: list[tuple[float, Place]] = []
        self._looked = float("-inf")
        self._capacity = Capacity(cpus=0)
        self.addresses: dict[str, str] = {}  # of the nodes that are there, by id

    def capacity(self, attempts: Collection[Submitted]) -> Capacity:
        """Return what the cluster has for us, of whom these attempts are in it."""
        if self._clock() - self._looked >= LOOK_S:
            self._look(attempts)
        return self._capacity

    def _look(self, attempts: Collection[Submitted]) -> None:
        """Look at the cluster anew."""
        now = self._looked = self._clock()
        self._ended = [(when, place) for when, place in self._ended if now - when < LAG_S]
        nodes = staying_nodes()
        self.addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in nodes}
        totals = {node["NodeID"]: node["Resources"] for node in nodes}
        taken = taken_of(totals, available_resources_per_node())
        hear(self._signs, attempts)
        ended = [place for _, place in self._ended]
        held = self._others.look(taken, places_of(attempts), waiting_of(attempts), ended)
        nodes = [node for node in nodes if node["NodeID"] not in self._avoided]
        self._capacity = capacity_of(nodes, held, self._with_gpus)

    def avoid(self, nodes: frozenset[str]) -> None:
        """Leave these nodes out of the capacity from now on."""
        if nodes != self._avoided:
            self._avoided = nodes
            self._looked = float("-inf")

    def end(self, attempt: Submitted) -> None:
        """Take note that an attempt has ended: there is something new to see."""
        hear(self._signs, [attempt])
        self._signs.forget(attempt.sign)
        self._ended += [(self._clock(), place) for place in attempt.places]
        self._looked = float("-inf")
