"""The layout of each stage: the estimate's, or the rung that stages like it have climbed to since.

What was learned lies in the store, for the next cells of the model and for other drivers. It
belongs to the layout that the ladder began at, so that other settings, or a better estimate, begin
afresh. Knows no cluster.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from pydantic import TypeAdapter

from orchestrator.grid.keys import content_key
from orchestrator.layouts.capacity import Capacity, most_ranks
from orchestrator.layouts.estimate import DoesNotFit, layout_for
from orchestrator.layouts.ladder import Limits, next_rung
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.memory import HOST, Correction
from orchestrator.layouts.workload import Work, work_of
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.store.store import Store

_WORK = TypeAdapter(Work)
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
        self._estimates: dict[tuple[str, Capacity], Layout | DoesNotFit] = {}
        self._learned: dict[str, tuple[float, Layout | None]] = {}
        self._corrections: dict[frozenset[str], tuple[float, Correction]] = {}

    def choose(self, spec: StageSpec, capacity: Capacity, most: Capacity) -> Layout | DoesNotFit:
        """Return the layout of the stage's next attempt, or why there is none.

        What fits only ``most``, the largest that the cluster was, waits for it.
        """
        begin = self._begin(spec, capacity, most)
        if isinstance(begin, DoesNotFit):
            return begin
        return self._learned_layout(ladder_key(self._resolved, spec, begin)) or begin

    def climb(self, spec: StageSpec, ran: Layout, capacity: Capacity, most: Capacity) -> bool:
        """Whether there is another layout to try after ``ran`` was out of memory.

        ``choose`` then gives it. Where another stage has climbed in the meantime, it is the rung
        that this one came to.
        """
        begin = self._begin(spec, capacity, most)
        if isinstance(begin, DoesNotFit):
            return False
        key = ladder_key(self._resolved, spec, begin)
        self._learned.pop(key, None)
        if (self._learned_layout(key) or begin) != ran:
            return True
        rung = next_rung(ran, self._limits(spec, ran, capacity))
        if rung is not None:
            with suppress(OSError):  # a full store: others will have to climb themselves
                self._store.layouts.save(key, rung.to_json())
            self._learned[key] = self._clock(), rung
        return rung is not None

    def _begin(self, spec: StageSpec, capacity: Capacity, most: Capacity) -> Layout | DoesNotFit:
        """Return the layout at which the stage's ladder begins: the estimate's."""
        estimate = self._estimate(spec, capacity)
        return self._estimate(spec, most) if isinstance(estimate, DoesNotFit) else estimate

    def _estimate(self, spec: StageSpec, capacity: Capacity) -> Layout | DoesNotFit:
        if (spec.key, capacity) not in self._estimates:
            grid = self._resolved.grid
            shape = self._resolved.models[spec.locations["model"]["name"]].shape
            correction = self._correction(capacity)
            self._estimates[spec.key, capacity] = layout_for(
                spec, shape, capacity, grid.resources, grid.engine, correction
            )
        return self._estimates[spec.key, capacity]

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
