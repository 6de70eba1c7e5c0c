"""The layout of each stage: the estimate's, or the rung that stages like it have climbed to since.

What was learned lies in the store, for the next cells of the model and for other drivers. It
belongs to the layout that the ladder began at, so that other settings, or a better estimate, begin
afresh. Knows no cluster.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from pydantic import TypeAdapter

from orchestrator.grid.keys import content_key
from orchestrator.layouts.capacity import Capacity, most_ranks
from orchestrator.layouts.estimate import DoesNotFit
from orchestrator.layouts.kinds import gpu_types, layouts_for, of_type
from orchestrator.layouts.ladder import Limits, next_rung
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.memory import HOST, Correction
from orchestrator.layouts.workload import Work, work_of
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.store import Store

_WORK = TypeAdapter(Work)
_Asked = tuple[str, Capacity, tuple[str, ...]]  # a stage's key, a cluster, types of GPU
RECHECK_S = 15.0  # another driver may have climbed; what was read is believed for so long


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


class LayoutChooser:
    """Chooses the layouts of one grid's stages on a cluster.

    It is asked about every stage at every step, so it remembers estimates and what was learned.
    """

    def __init__(
        self, resolved: Resolved, store: Store, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._resolved = resolved
        self._store = store
        self._clock = clock
        self._estimates: dict[_Asked, tuple[Layout, ...] | DoesNotFit] = {}
        self._known_types: tuple[Capacity | None, Capacity | None, frozenset[str]]
        self._known_types = None, None, frozenset()  # those of two capacities, looked up once
        self._ended: set[str] = set()  # keys of ladders that have no other rung
        self._learned: dict[str, tuple[float, Layout | None]] = {}
        self._corrections: dict[frozenset[str], tuple[float, Correction]] = {}

    def choose(self, spec: StageSpec, capacity: Capacity, most: Capacity) -> Layout | DoesNotFit:
        """Return the layout of the stage's next attempt, or why there is none.

        What fits only ``most``, the largest that the cluster was or can become, waits for it.
        """
        found = self._layouts(spec, capacity, most)
        return found if isinstance(found, DoesNotFit) else found[0]

    def alternatives(
        self, specs: Iterable[StageSpec], capacity: Capacity, most: Capacity
    ) -> dict[str, tuple[Layout, ...]]:
        """Return stages' layouts on other types of GPU, for while the chosen type is taken.

        By the stage's key, the best first; most clusters have one type alone, and so none.
        """
        others: dict[str, tuple[Layout, ...]] = {}
        for spec in specs:
            if len(self._types(spec, capacity, most)) > 1:
                found = self._layouts(spec, capacity, most)
                others[spec.key] = () if isinstance(found, DoesNotFit) else found[1:]
        return {key: layouts for key, layouts in others.items() if layouts}

    def _layouts(
        self, spec: StageSpec, capacity: Capacity, most: Capacity
    ) -> tuple[Layout, ...] | DoesNotFit:
        """Return the stage's layouts on each type of GPU, as far as they were learned by now.

        Types on which it ran out of memory on every rung are left out while there are others.
        """
        begins = self._begins(spec, capacity, most)
        if isinstance(begins, DoesNotFit):
            return begins
        ladders = {ladder_key(self._resolved, spec, begin): begin for begin in begins}
        left = {key: begin for key, begin in ladders.items() if key not in self._ended} or ladders
        return tuple(self._learned_layout(key) or begin for key, begin in left.items())

    def climb(self, spec: StageSpec, ran: Layout, capacity: Capacity, most: Capacity) -> bool:
        """Whether there is another layout to try after ``ran`` was out of memory.

        ``choose`` then gives it. Where another stage has climbed in the meantime, it is the rung
        that this one came to. After the last rung on one type of GPU come the other types.
        """
        begins = self._begins(spec, capacity, most)
        if isinstance(begins, DoesNotFit):
            return False
        begin = next((each for each in begins if each.gpu_type == ran.gpu_type), begins[0])
        key = ladder_key(self._resolved, spec, begin)
        self._learned.pop(key, None)
        if (self._learned_layout(key) or begin) != ran:
            return True
        rung = next_rung(ran, self._limits(spec, ran, capacity)) or next_rung(
            ran, self._limits(spec, ran, most)
        )
        if rung is None:
            self._ended.add(key)
            keys = {ladder_key(self._resolved, spec, each) for each in begins}
            return bool(keys - self._ended)
        with suppress(OSError):  # a full store: others will have to climb themselves
            self._store.layouts.save(key, rung.to_json())
        self._learned[key] = self._clock(), rung
        return True

    def _begins(
        self, spec: StageSpec, capacity: Capacity, most: Capacity
    ) -> tuple[Layout, ...] | DoesNotFit:
        """Return the layouts at which the stage's ladders begin: the estimate's, the best first.

        A cluster whose GPUs are still to come is not taken for one without.
        """
        types = self._types(spec, capacity, most)
        if most.gpus and not capacity.gpus:
            return self._estimate(spec, most, types)
        estimate = self._estimate(spec, capacity, types)
        return self._estimate(spec, most, types) if isinstance(estimate, DoesNotFit) else estimate

    def _types(self, spec: StageSpec, capacity: Capacity, most: Capacity) -> tuple[str, ...]:
        """Return the types of GPU of which the stage may have one or another; "" for any.

        Where there was only ever one, it needs no name. A measurement is on one type alone: while
        that is away, it waits for it.
        """
        if not most.gpus and not capacity.gpus:
            return ("",)
        seen_capacity, seen_most, types = self._known_types
        if seen_capacity is not capacity or seen_most is not most:
            types = gpu_types(capacity) | gpu_types(most)
            self._known_types = capacity, most, types
        if spec.kind is StageKind.MEASURE:
            hardware = str(spec.inputs["hardware"])
            return (hardware if hardware in types else "",)
        return tuple(sorted(types)) if len(types) > 1 else ("",)

    def _estimate(
        self, spec: StageSpec, capacity: Capacity, types: tuple[str, ...]
    ) -> tuple[Layout, ...] | DoesNotFit:
        if (spec.key, capacity, types) not in self._estimates:
            grid = self._resolved.grid
            shape = self._resolved.models[spec.locations["model"]["name"]].shape
            self._estimates[spec.key, capacity, types] = layouts_for(
                spec, shape, capacity, grid.resources, grid.engine, self._correction, types
            )
        return self._estimates[spec.key, capacity, types]

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

    def _learned_layout(self, key: str) -> Layout | None:
        """Return the rung kept under a ladder's key, read again after RECHECK_S seconds."""
        now = self._clock()
        if key not in self._learned or now - self._learned[key][0] >= RECHECK_S:
            self._learned[key] = now, _layout_of(self._store.layouts.load(key))
        return self._learned[key][1]

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
            max_gpus=max(node.gpus for node in of_type(capacity, layout.gpu_type).machines),
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
