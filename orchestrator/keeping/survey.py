"""All that a decision about a store needs, looked up: what it holds, who needs it, who is at work.

Reads the store, the drivers' signs of life, and the registries that the kept grids name.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.coordination.drivers import SignOfLife
from orchestrator.keeping.decide import Decision, Protected, decide
from orchestrator.keeping.held import HeldStage, held_stages
from orchestrator.keeping.needs import Needs, needs_of
from orchestrator.keeping.sweep import asking
from orchestrator.kept_grids.shelf import all_kept, find_kept
from orchestrator.store.copies.node_cache import node_cache
from orchestrator.store.store import Store
from trsp.errors import InvalidInputError, TrackingError


@dataclass(frozen=True)
class Asked:
    """What people ask for."""

    older_than_s: float = 0.0
    forget: tuple[str, ...] = ()  # names or keys of kept grids that are to be kept no more
    tracking: tuple[str, ...] = ()  # MLflow's addresses, in place of those of the kept grids


@dataclass(frozen=True)
class Survey:
    """A store at one moment, and what of it nobody needs."""

    stages: tuple[HeldStage, ...]
    needs: Needs
    decision: Decision
    seen: frozenset[str] = frozenset()  # the grids and drivers that the decision knew of
    forgotten: tuple[str, ...] = ()  # keys of grids
    notes: tuple[str, ...] = ()  # what stays to be safe, and why
    cache_bytes: int | None = None  # of this machine's cache of artifacts; None: there is none

    def grid_bytes(self, key: str) -> tuple[int, int]:
        """Return the bytes of the stages that a kept grid needs, and of those that only it does."""
        grid = next(each for each in self.needs.grids if each.key == key)
        others = [each.stages for each in self.needs.grids if each.key != key]
        shared = frozenset[str]().union(*others)
        ours = [stage for stage in self.stages if stage.key in grid.stages]
        alone = sum(stage.size_bytes for stage in ours if stage.key not in shared)
        return sum(stage.size_bytes for stage in ours), alone


def survey(store: Store, asked: Asked) -> Survey:
    """Return what a store holds, and what of it nobody needs. OSError where it cannot be read.

    Grids and drivers are listed first: those that come later, the sweep sees. InvalidInputError for
    a grid to be forgotten that is not there, or at work.
    """
    seen = asking(store)
    signs = tuple(store.claims.drivers.seen_alive().values())
    forgotten = _forgotten(store, asked.forget, signs)
    stages = held_stages(store)
    kept = [each for each in all_kept(store) if each.key not in forgotten]
    needs = Needs(needs_of(store, kept))
    addresses = asked.tracking or tuple(sorted({g.tracking for g in needs.grids if g.tracking}))
    marked, trouble = _marked(addresses)
    unclear = (*_unclear(needs, signs, asked), *_unread(needs, seen, forgotten))
    protected = Protected(_working(needs, signs), marked, unclear)
    cache = node_cache()
    return Survey(
        stages,
        needs,
        decide(stages, needs, protected, time.time(), asked.older_than_s),
        seen,
        forgotten,
        (*unclear, *trouble),
        cache.size_bytes() if cache else None,
    )


def _forgotten(store: Store, named: Iterable[str], signs: Iterable[SignOfLife]) -> tuple[str, ...]:
    """Return the keys of the grids that are to be forgotten."""
    at_work = {sign.grid for sign in signs}
    keys = []
    for name in named:
        for each in find_kept(store, name):
            if each.key in at_work:
                raise InvalidInputError(
                    f"grid {each.text} runs now; cancel it before it is forgotten"
                )
            keys.append(each.key)
    return tuple(keys)


def _marked(addresses: Sequence[str]) -> tuple[frozenset[str] | None, tuple[str, ...]]:
    """Return what aliases mark in all registries; None, and why, where one gives no answer."""
    from orchestrator.tracking.marked import marked_checkpoints

    marked, trouble = frozenset[str](), []
    for address in addresses:
        try:
            marked |= marked_checkpoints(address)
        except TrackingError as error:
            trouble.append(
                f"checkpoints that an alias may mark stay: {error}; give --tracking URI where the "
                "registry is elsewhere"
            )
    return (None if trouble else marked), tuple(trouble)


def _unclear(needs: Needs, signs: Collection[SignOfLife], asked: Asked) -> Iterator[str]:
    """Yield why nobody can tell which results are needed; nothing where all is known."""
    for grid in needs.grids:
        if grid.unclear:
            yield f"no result is removed: {grid.unclear}; or --forget {grid.key}"
        elif signs and not grid.is_known:
            yield f"no result is removed while a driver works: grid {grid.name!r} may need any"
    known = {grid.key for grid in needs.grids}
    for sign in signs:
        if sign.grid not in known:
            yield f"no result is removed: {sign.process.text} works on a grid that is not kept"
    if not known and not asked.forget:
        yield "no result is removed: the store keeps no grid that says what its results are for"


def _unread(needs: Needs, seen: frozenset[str], forgotten: Collection[str]) -> Iterator[str]:
    """Yield which grids' files could not be read."""
    known = {f"grids/{key}.json" for key in (*(grid.key for grid in needs.grids), *forgotten)}
    for path in sorted(path for path in seen - known if path.startswith("grids/")):
        yield f"no result is removed: {path} in the store cannot be read; delete it, if it is yours"


def _working(needs: Needs, signs: Collection[SignOfLife]) -> frozenset[str]:
    """Return the stages that living drivers hold, and all that their grids need."""
    grids = {sign.grid for sign in signs}
    held = frozenset(key for sign in signs for key in sign.keys)
    return held.union(*(grid.stages for grid in needs.grids if grid.key in grids))
