"""The layout of each stage: the estimate's, or the rung that stages like it have climbed to since.

What was learned lies in the store, for the next cells of the model and for other drivers. It
belongs to the layout that the ladder began at, so that other settings, or a better estimate, begin
afresh. Knows no cluster.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from orchestrator.grid.keys import content_key
from orchestrator.layouts.capacity import Capacity, most_ranks
from orchestrator.layouts.correction import HOST, Correction
from orchestrator.layouts.estimate import DoesNotFit, layout_for
from orchestrator.layouts.ladder import Limits, next_rung
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.workload import Work, work_of
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.store.store import Store

_WORK = TypeAdapter(Work)
RECHECK_S = 15.0  # another driver may have climbed; what was read is believed for so long
CLUSTERS = 8  # nodes come and go: of so many states of a cluster the estimates are kept


def ladder_key(resolved: Resolved, spec: StageSpec, begin: Layout) -> str:
    """Return the key under which the store keeps the rung of all stages that need as much memory.

    These are the stages of one model, for the same work, on one kind of hardware, with ``begin`` as
    the estimate's layout.
    """
    work = work_of(spec)
    # A field that came later: what stages without such layers have learned stays found.
    later = set() if work.bypassed else {"bypassed"}
    alike = {
        "model": resolved.models[spec.locations["model"]["name"]].fingerprint,
        "work": _WORK.dump_python(work, mode="json", exclude=later),
        "hardware": resolved.study.hardware,
        "begin": begin.to_json(),
    }
    return content_key(spec.kind, alike)


@dataclass(frozen=True)
class _Begin:
    """Where the ladder of stages that need as much memory begins on a cluster."""

    layout: Layout | DoesNotFit
    key: str = ""  # of the ladder in the store; "" where nothing fits


class LayoutChooser:
    """Chooses the layouts of one grid's stages on a cluster.

    It is asked about every stage again and again, so it remembers the estimates of the clusters
    seen last, and what was learned: one listing every RECHECK_S seconds says what there is of that.
    """

    def __init__(
        self, resolved: Resolved, store: Store, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._resolved = resolved
        self._store = store
        self._clock = clock
        self._alike: dict[str, tuple[str, Work]] = {}  # model and work of each stage, by its key
        self._clusters: list[tuple[Capacity, Capacity, dict[tuple[str, Work], _Begin]]] = []
        self._learned: dict[str, Layout | None] = {}
        self._listed: tuple[float, frozenset[str]] = float("-inf"), frozenset()
        self._corrections: dict[frozenset[str], tuple[float, Correction]] = {}

    def choose(self, spec: StageSpec, capacity: Capacity, most: Capacity) -> Layout | DoesNotFit:
        """Return the layout of the stage's next attempt, or why there is none.

        What fits only ``most``, the largest that the cluster was, waits for it. Stages that need as
        much get the same object.
        """
        self._list_learned()
        return self._chosen(self._begin(spec, capacity, most))

    def choose_all(
        self, specs: Iterable[StageSpec], capacity: Capacity, most: Capacity
    ) -> tuple[dict[str, Layout], dict[str, str]]:
        """Return the layouts of stages' next attempts, and why others have none, by key."""
        self._list_learned()
        begins, layouts, refused = self._begins_on(capacity, most), {}, {}
        for spec in specs:
            begin = begins.get(self._alike_of(spec)) or self._begin(spec, capacity, most)
            chosen = self._chosen(begin)
            if isinstance(chosen, DoesNotFit):
                refused[spec.key] = chosen.reason
            else:
                layouts[spec.key] = chosen
        return layouts, refused

    def climb(self, spec: StageSpec, ran: Layout, capacity: Capacity, most: Capacity) -> bool:
        """Whether there is another layout to try after ``ran`` was out of memory.

        ``choose`` then gives it. Where another stage has climbed in the meantime, it is the rung
        that this one came to.
        """
        begin = self._begin(spec, capacity, most)
        if isinstance(begin.layout, DoesNotFit):
            return False
        self._learned[begin.key] = _layout_of(self._store.layouts.load(begin.key))
        if (self._learned[begin.key] or begin.layout) != ran:
            return True
        rung = next_rung(ran, self._limits(spec, ran, capacity))
        if rung is not None:
            with suppress(OSError):  # a full store: others will have to climb themselves
                self._store.layouts.save(begin.key, rung.to_json())
            self._learned[begin.key] = rung
        return rung is not None

    def _begin(self, spec: StageSpec, capacity: Capacity, most: Capacity) -> _Begin:
        """Return where the stage's ladder begins: at the estimate's layout."""
        begins, alike = self._begins_on(capacity, most), self._alike_of(spec)
        if alike not in begins:
            estimate = self._estimate(spec, capacity)
            if isinstance(estimate, DoesNotFit) and most != capacity:
                estimate = self._estimate(spec, most)
            key = ""
            if isinstance(estimate, Layout):
                key = ladder_key(self._resolved, spec, estimate)
            begins[alike] = _Begin(estimate, key)
        return begins[alike]

    def _begins_on(self, capacity: Capacity, most: Capacity) -> dict[tuple[str, Work], _Begin]:
        """Return what is remembered of such a cluster, by model and work."""
        for seen in self._clusters:
            if seen[0] == capacity and seen[1] == most:
                return seen[2]
        begins: dict[tuple[str, Work], _Begin] = {}
        self._clusters = [(capacity, most, begins), *self._clusters[: CLUSTERS - 1]]
        return begins

    def _alike_of(self, spec: StageSpec) -> tuple[str, Work]:
        """Return what is the same of all stages that need as much memory."""
        if spec.key not in self._alike:
            self._alike[spec.key] = spec.locations["model"]["name"], work_of(spec)
        return self._alike[spec.key]

    def _estimate(self, spec: StageSpec, capacity: Capacity) -> Layout | DoesNotFit:
        grid = self._resolved.grid
        shape = self._resolved.models[spec.locations["model"]["name"]].shape
        correction = self._correction(capacity)
        return layout_for(spec, shape, capacity, grid.resources, grid.engine, correction)

    def _correction(self, capacity: Capacity) -> Correction:
        """Return what was measured on these devices, read again after RECHECK_S seconds."""
        now = self._clock()
        gpus = frozenset(node.gpu_type or "gpu" for node in capacity.machines if node.gpus)
        kinds = gpus or frozenset({HOST})
        if kinds in self._corrections and now - self._corrections[kinds][0] < RECHECK_S:
            return self._corrections[kinds][1]
        with suppress(OSError):  # a store that is away for a moment: the estimate stands as it is
            documents = [self._store.memory.load(kind) for kind in sorted(kinds)]
            self._corrections[kinds] = (
                now,
                Correction.largest(map(Correction.from_document, documents)),
            )
            return self._corrections[kinds][1]
        return Correction()

    def _chosen(self, begin: _Begin) -> Layout | DoesNotFit:
        """Return the rung that was climbed to from here, or else where the ladder begins."""
        key = begin.key
        if key not in self._learned and f"{key}.json" in self._listed[1]:
            self._learned[key] = _layout_of(self._store.layouts.load(key))
        return self._learned.get(key) or begin.layout

    def _list_learned(self) -> None:
        """List what was learned, if that is due; all of it is then read again where it is used."""
        now = self._clock()
        if now - self._listed[0] >= RECHECK_S:
            self._listed = now, self._store.layouts.names()
            for name in self._listed[1]:
                self._learned.pop(name.removesuffix(".json"), None)

    def _limits(self, spec: StageSpec, layout: Layout, capacity: Capacity) -> Limits:
        """Return how far the stage may climb on this cluster under the grid's resources."""
        work, resources = work_of(spec), self._resolved.grid.resources
        if resources.ranks == "auto":
            there = most_ranks(capacity, layout)
            max_ranks = min(there, resources.max_ranks or there)
        else:
            max_ranks = resources.ranks
        return Limits(
            work.trains,
            blocks_per_step=work.rows,
            max_ranks=max_ranks,
            max_gpus=max(node.gpus for node in capacity.machines),
            nodes=len(capacity.machines),
            node_memory_bytes=max(node.memory_bytes for node in capacity.machines),
            lora=work.lora is not None,
        )


def _layout_of(stored: Mapping[str, Any]) -> Layout | None:
    """Return the layout that was kept; None for what is none: the ladder then begins anew."""
    try:
        return Layout.from_json(stored) if stored else None
    except ValueError:
        return None
