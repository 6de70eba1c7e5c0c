"""The layout of each stage: the estimate's, or the rung that stages like it have climbed to since.

What was learned lies in the store, for the next cells of the model and for other drivers. It
belongs to the layout that the ladder began at, so that other settings, or a better estimate, begin
afresh. Knows no cluster.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
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


_Alike = tuple[str, Work]  # a model and what is done with it: all that an estimate rests on


@dataclass(frozen=True)
class _Begins:
    """Where the ladders of stages that need as much memory begin on a cluster.

    ``layouts``: the estimate's, the best first, by the keys of the ladders in the store. None where
    nothing fits: ``reason`` says why.
    """

    layouts: Mapping[str, Layout]
    reason: str = ""


@dataclass
class Choices:
    """The layouts of several stages, by key: of each the best and others, or why it has none."""

    layouts: dict[str, Layout] = field(default_factory=dict)
    alternatives: dict[str, tuple[Layout, ...]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


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
        self._alike: dict[str, _Alike] = {}  # by a stage's key
        self._clusters: list[tuple[Capacity, Capacity, dict[_Alike, _Begins]]] = []
        self._ended: set[str] = set()  # keys of ladders that have no other rung
        self._learned: dict[str, Layout | None] = {}
        self._listed: tuple[float, frozenset[str]] = float("-inf"), frozenset()
        self._corrections: dict[frozenset[str], tuple[float, Correction]] = {}

    def choose_all(self, specs: Iterable[StageSpec], capacity: Capacity, most: Capacity) -> Choices:
        """Return the layouts of these stages' next attempts; those that need as much share them.

        What fits only ``most``, the largest that the cluster was or can become, waits for it. The
        alternatives are on other types of GPU, for while the chosen type is taken, the best first;
        most clusters have none.
        """
        self._list_learned()
        begins, choices = self._begins_on(capacity, most), Choices()
        found: dict[_Alike, tuple[Layout, ...]] = {}
        for spec in specs:
            alike = self._alike_of(spec)
            if alike not in begins:
                begins[alike] = self._begins(spec, capacity, most)
            if begins[alike].reason:
                choices.refused[spec.key] = begins[alike].reason
                continue
            if alike not in found:
                found[alike] = self._layouts(begins[alike])
            choices.layouts[spec.key], *others = found[alike]
            if others:
                choices.alternatives[spec.key] = tuple(others)
        return choices

    def _layouts(self, begins: _Begins) -> tuple[Layout, ...]:
        """Return layouts on each type of GPU, as far as they were learned by now.

        Types whose ladder has ended are left out while there are others.
        """
        left = {key: each for key, each in begins.layouts.items() if key not in self._ended}
        ladders = left or begins.layouts
        return tuple(self._learned_layout(key) or begin for key, begin in ladders.items())

    def climb(self, spec: StageSpec, ran: Layout, capacity: Capacity, most: Capacity) -> bool:
        """Whether there is another layout to try after ``ran`` was out of memory.

        ``choose_all`` then gives it. Where another stage has climbed in the meantime, it is the
        rung that this one came to. After the last rung on one type of GPU come the other types.
        """
        ladders = self._begins(spec, capacity, most).layouts
        if not ladders:
            return False
        ran_on = (key for key, each in ladders.items() if each.gpu_type == ran.gpu_type)
        key = next(ran_on, next(iter(ladders)))
        self._learned[key] = _layout_of(self._store.layouts.load(key))
        if (self._learned[key] or ladders[key]) != ran:
            return True
        limits = (self._limits(spec, ran, cluster) for cluster in (capacity, most))
        rung = next(filter(None, (next_rung(ran, each) for each in limits)), None)
        if rung is None:
            self._ended.add(key)
            return bool(ladders.keys() - self._ended)
        with suppress(OSError):  # a full store: others will have to climb themselves
            self._store.layouts.save(key, rung.to_json())
        self._learned[key] = rung
        return True

    def _begins(self, spec: StageSpec, capacity: Capacity, most: Capacity) -> _Begins:
        """Return where the stage's ladders begin: at the estimate's layouts."""
        types = self._types(spec, capacity, most)
        estimate: tuple[Layout, ...] | DoesNotFit = DoesNotFit("")
        if capacity.gpus or not most.gpus:  # GPUs that are still to come are not taken for none
            estimate = self._estimate(spec, capacity, types)
        if isinstance(estimate, DoesNotFit):
            estimate = self._estimate(spec, most, types)
        if isinstance(estimate, DoesNotFit):
            return _Begins({}, estimate.reason)
        return _Begins({ladder_key(self._resolved, spec, each): each for each in estimate})

    def _begins_on(self, capacity: Capacity, most: Capacity) -> dict[_Alike, _Begins]:
        """Return what is remembered of such a cluster."""
        for seen in self._clusters:
            if seen[0] == capacity and seen[1] == most:
                return seen[2]
        begins: dict[_Alike, _Begins] = {}
        self._clusters = [(capacity, most, begins), *self._clusters[: CLUSTERS - 1]]
        return begins

    def _alike_of(self, spec: StageSpec) -> _Alike:
        if spec.key not in self._alike:
            self._alike[spec.key] = spec.locations["model"]["name"], work_of(spec)
        return self._alike[spec.key]

    def _types(self, spec: StageSpec, capacity: Capacity, most: Capacity) -> tuple[str, ...]:
        """Return the types of GPU of which the stage may have one or another; "" for any.

        Where there was only ever one, it needs no name. A measurement is on one type alone: while
        that is away, it waits for it.
        """
        if not most.gpus and not capacity.gpus:
            return ("",)
        types = gpu_types(capacity) | gpu_types(most)
        if spec.kind is StageKind.MEASURE:
            hardware = str(spec.inputs["hardware"])
            return (hardware if hardware in types else "",)
        return tuple(sorted(types)) if len(types) > 1 else ("",)

    def _estimate(
        self, spec: StageSpec, capacity: Capacity, types: tuple[str, ...]
    ) -> tuple[Layout, ...] | DoesNotFit:
        grid, shape = self._resolved.grid, self._resolved.models[self._alike_of(spec)[0]].shape
        settings = grid.resources, grid.engine
        return layouts_for(spec, shape, capacity, *settings, self._correction, types)

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
        """Return the rung kept under a ladder's key."""
        if key not in self._learned and f"{key}.json" in self._listed[1]:
            self._learned[key] = _layout_of(self._store.layouts.load(key))
        return self._learned.get(key)

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
