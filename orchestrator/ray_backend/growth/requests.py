"""What all drivers of a cluster together ask its autoscaler for. Pure: bundles are given to it.

Ray knows one request of a whole cluster, which every new one replaces: who asks for himself takes
away what others have asked for. A *bundle* is what one process takes, by Ray's names.
"""

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from math import inf

from orchestrator.layouts.layout import GPU_TYPE, Layout
from orchestrator.ray_backend.growth.fitting import Bundle, Group, Room, beside

_Shape = tuple[tuple[str, float], ...]


def bundles_of(
    layouts: Iterable[Layout], with_memory: bool, gpu_types: Container[str] = ()
) -> list[list[dict[str, float]]]:
    """Return of each layout a bundle for each of its ranks.

    ``with_memory``: whether the hosts' memory is asked for, too. A type of node that declares none
    would never come for a bundle that names it; neither for a type of GPU that is none of
    ``gpu_types``, which nodes declare.
    """
    groups = []
    for layout in layouts:
        bundle = layout.amounts
        if not with_memory:
            bundle.pop("memory", None)
        if layout.gpu_type not in gpu_types:
            bundle.pop(GPU_TYPE + layout.gpu_type, None)
        groups.append([bundle] * layout.ranks)
    return groups


@dataclass(frozen=True)
class Want:
    """What one job wants the cluster to have room for, and what it sees of the cluster.

    ``groups``: a bundle for each rank of what runs and of what waits. ``placed``: what it holds by
    now. ``others``: what others hold of nodes, of whom some may be drivers, too. ``there`` and
    ``coming``: what each node has in all, of those that are there and those that can come, of which
    no more than ``may_come`` can together.
    """

    groups: Sequence[Group] = ()
    placed: Sequence[Bundle] = ()
    others: Sequence[Bundle] = ()
    there: Sequence[Bundle] = ()
    coming: Sequence[Bundle] = ()
    may_come: float = inf

    @property
    def size(self) -> tuple[float, ...]:
        """The GPUs and CPUs that it knows of."""
        nodes = [*self.there, *self.coming]
        return tuple(sum(node.get(name, 0) for node in nodes) for name in ("GPU", "CPU"))


class Wants:
    """What each job wants, and what is to be asked for so that strangers keep their own."""

    def __init__(self, asked: Iterable[Bundle] = ()) -> None:
        """``asked``: what was last asked for in our name, by whoever kept the wants before."""
        self._of_jobs: dict[str, Want] = {}  # the one that was told last is the last
        self._asked = _counted(asked)

    def set(self, job: str, want: Want) -> None:
        """Note what a job wants from now on; nothing: it is forgotten."""
        self._of_jobs.pop(job, None)
        if want.groups:
            self._of_jobs[job] = want

    def keep(self, living: Iterable[str]) -> None:
        """Forget the jobs that are none of ``living``."""
        alive = set(living)
        self._of_jobs = {job: wants for job, wants in self._of_jobs.items() if job in alive}

    @property
    def nothing(self) -> bool:
        """Whether no job wants anything."""
        return not self._of_jobs

    def request(self, standing: Iterable[Bundle]) -> list[dict[str, float]] | None:
        """Return what is to be asked for in place of the request ``standing`` now.

        That is what all jobs want, and what strangers have asked for: so much of ``standing`` as we
        did not ask for ourselves. None where it stands already.
        """
        now = _counted(standing)
        strangers = now - self._asked
        self._asked = _counted(self._together([dict(shape) for shape in strangers.elements()]))
        request = strangers + self._asked
        return None if request == now else [dict(shape) for shape in sorted(request.elements())]

    def _together(self, strangers: Sequence[Bundle]) -> Iterable[Bundle]:
        """Return what all jobs want, and what is held by those who want nothing of us.

        A driver's own are others' to another driver: they count once. What several want, or one of
        several types of node, may be more than the cluster can become, and for that Ray's second
        autoscaler starts nothing at all: they take turns, as far as there is room.
        """
        if not self._of_jobs:
            return ()
        wants = list(self._of_jobs.values())
        seer = max(reversed(wants), key=lambda want: want.size)  # some look at no GPUs
        placed = chain.from_iterable(want.placed for want in wants if want is not seer)
        others = beside(seer.others, placed)
        turns = zip_longest(*(want.groups for want in wants))
        groups = [group for turn in turns for group in turn if group]
        if len(wants) > 1 or seer.may_come < len(seer.coming):
            room = Room(beside(seer.there, others), seer.coming, seer.may_come)
            for bundle in strangers:
                room.take([bundle])
            groups = [group for group in groups if room.take(group)]
        return [*others, *chain.from_iterable(groups)]

    @property
    def asked(self) -> list[dict[str, float]]:
        """What is asked for in our name, as the next who keeps the wants is to be told."""
        return [dict(shape) for shape in sorted(self._asked.elements())]


def _counted(bundles: Iterable[Bundle]) -> Counter[_Shape]:
    """Return how often each bundle is there, whatever order it names its resources in."""
    return Counter(
        tuple(sorted((name, float(amount)) for name, amount in bundle.items()))
        for bundle in bundles
    )
