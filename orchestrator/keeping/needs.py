"""What the grids that a store keeps need of it, by the keys of their stages."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from orchestrator.kept_grids.document import resolved_from
from orchestrator.kept_grids.shelf import Kept
from orchestrator.stages.next_stages import chosen_layers
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import (
    StageKind,
    StageSpec,
    cell_stages,
    dense_spec,
    measure_spec,
    ranking_spec,
)
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store
from trsp.errors import StoreError


@dataclass(frozen=True)
class GridNeeds:
    """What one kept grid needs."""

    key: str
    name: str
    stages: frozenset[str] = frozenset()  # keys of all its stages that are known by now
    weights: frozenset[str] = frozenset()  # of these, of stage two, those whose weights it needs
    is_known: bool = True  # False while layers of a cell are not chosen: its stages may be any
    tracking: str = ""  # MLflow's address
    unclear: str = ""  # why its stages cannot be told; "" where they can


def needs_of(store: Store, kept: Iterable[Kept]) -> tuple[GridNeeds, ...]:
    """Return what each of these grids needs. OSError where the store cannot be read."""
    results = StoreResults(store)
    return tuple(_needs(store, each, results) for each in kept)


def _needs(store: Store, kept: Kept, results: StoreResults) -> GridNeeds:
    try:
        resolved = resolved_from(kept.grid, kept.key, store.uri)
    except StoreError as error:
        return GridNeeds(kept.key, kept.grid.name, unclear=str(error))
    stages = stages_of(resolved, results)
    return GridNeeds(
        kept.key,
        kept.grid.name,
        frozenset(stages),
        frozenset(_weights(resolved, stages, results)),
        all(chosen_layers(cell, resolved.study, results) for cell in resolved.cells),
        resolved.grid.tracking.uri,
    )


def stages_of(resolved: Resolved, results: StoreResults) -> dict[str, StageSpec]:
    """Return the stages of a grid by key: all that are known, as far as its rankings are there."""
    study = resolved.study
    rankings = {cell.key: ranking_spec(cell, study) for cell in resolved.cells}
    results.load(spec.key for spec in rankings.values())
    found: list[StageSpec | None] = [*rankings.values()]
    for model in resolved.models.values():
        found += [dense_spec(model, study), measure_spec(model, study, ())]
    for cell in resolved.cells:
        found += cell_stages(cell, study, chosen_layers(cell, study, results) or ())
    return {spec.key: spec for spec in found if spec is not None}


def _weights(
    resolved: Resolved, stages: Mapping[str, StageSpec], results: StoreResults
) -> Iterator[str]:
    """Yield the stages of stage two whose weights are to stay: no checkpoint is made of them yet.

    Or the grid keeps them.
    """
    prunes = [spec for spec in stages.values() if spec.kind is StageKind.PRUNE]
    results.load(spec.key for spec in prunes)
    for spec in prunes:
        if resolved.grid.storage.keep_transfer_weights or results.record(spec.key) is None:
            yield from spec.reads


@dataclass(frozen=True)
class Needs:
    """What all kept grids need together."""

    grids: tuple[GridNeeds, ...] = ()
    stages: frozenset[str] = field(init=False)
    weights: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Join what the grids need."""
        for name in ("stages", "weights"):
            joined = chain.from_iterable(getattr(grid, name) for grid in self.grids)
            object.__setattr__(self, name, frozenset(joined))
