"""What all drivers of a cluster together ask its autoscaler for. Pure: bundles are given to it.

Ray knows one request of a whole cluster, which every new one replaces: who asks for himself takes
away what others have asked for. A *bundle* is what one process takes, by Ray's names.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence

from orchestrator.layouts.layout import GPU_TYPE, Layout

Bundle = Mapping[str, float]
_Shape = tuple[tuple[str, float], ...]


def bundles_of(
    layouts: Iterable[Layout], with_memory: bool, gpu_types: Container[str] = ()
) -> list[dict[str, float]]:
    """Return a bundle for each rank of these layouts.

    ``with_memory``: whether the hosts' memory is asked for, too. A type of node that declares none
    would never come for a bundle that names it; neither for a type of GPU that is none of
    ``gpu_types``, which nodes declare.
    """
    bundles = []
    for layout in layouts:
        bundle = layout.amounts
        if not with_memory:
            bundle.pop("memory", None)
        if layout.gpu_type not in gpu_types:
            bundle.pop(GPU_TYPE + layout.gpu_type, None)
        bundles += [bundle] * layout.ranks
    return bundles


class Wants:
    """What each job wants, and what is to be asked for so that strangers keep their own."""

    def __init__(self, asked: Iterable[Bundle] = ()) -> None:
        """``asked``: what was last asked for in our name, by whoever kept the wants before."""
        self._of_jobs: dict[str, list[Bundle]] = {}
        self._asked = _counted(asked)

    def set(self, job: str, bundles: Sequence[Bundle]) -> None:
        """Note what a job wants from now on; nothing: it is forgotten."""
        if bundles:
            self._of_jobs[job] = list(bundles)
        else:
            self._of_jobs.pop(job, None)

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
        self._asked = _counted(bundle for wants in self._of_jobs.values() for bundle in wants)
        request = strangers + self._asked
        return None if request == now else [dict(shape) for shape in sorted(request.elements())]

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
