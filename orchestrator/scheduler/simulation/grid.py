"""A grid in a simulation: what its cells need next, and how long all of it takes.

Knows no cluster and no clock.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from orchestrator.grid.cells import Cell
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.simulation.begun import NOTHING, Begun, whole_order
from orchestrator.stages.next_stages import (
    Done,
    first_needed_stage,
    missing_stages,
    next_dense_stage,
)
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import (
    StageKind,
    StageSpec,
    cell_stages,
    dense_spec,
    measure_spec,
    ranking_spec,
)


class Costs(Protocol):
    """How long stages take, and in which layouts.

    Seconds are of a stage, or of each round of a ranking to the deepest of its cells.
    """

    def layouts(self, spec: StageSpec) -> tuple[Layout, ...]:
        """Return the layouts that a stage may have, the best first."""

    def true(self, spec: StageSpec, layout: Layout) -> Sequence[float]:
        """Return the seconds that the stage takes in a layout."""

    def expected(self, spec: StageSpec, layout: Layout) -> Sequence[float]:
        """Return the seconds that the scheduler takes it to take."""


def _key_of(ranking: StageSpec) -> str:
    return ranking.key


class SimulatedGrid:
    """What is done of a grid, what is needed now, and how long each of its stages takes.

    Layers that no ranking has published are made up, by the name that ``alike`` gives a ranking:
    those of one name choose the same.
    """

    def __init__(
        self,
        resolved: Resolved,
        costs: Costs,
        begun: Begun = NOTHING,
        alike: Callable[[StageSpec], str] = _key_of,
    ) -> None:
        self._resolved, self._study = resolved, resolved.study
        self.costs = costs
        self._order: dict[str, list[int]] = {}  # of layers, by the key of the ranking
        self._published: dict[str, int] = {}  # rounds
        self._done = set(begun.done)
        # Each cell with the key of its ranking; the rankings to the deepest of their cells.
        self._cells: list[tuple[str, Cell]] = []
        self._rankings: dict[str, StageSpec] = {}
        self._stages: dict[str, tuple[StageSpec, ...]] = {}  # of cells, by their keys
        self._waiting: dict[str, list[Cell]] = {}  # for layers, by the key of the ranking
        self._users: dict[str, list[Sequence[StageSpec]]] = {}  # of a stage: those of a cell each
        self._tails: dict[str, float] = {}  # of a ranking: what follows on its deepest layer
        self.needs: dict[str, StageSpec] = {}
        self.after: dict[str, float] = {}  # expected seconds of the longest path from its start
        self._begin(begun, alike)

    def _begin(self, begun: Begun, alike: Callable[[StageSpec], str]) -> None:
        for cell in self._resolved.cells:
            spec = ranking_spec(cell, self._study)
            self._cells.append((spec.key, cell))
            self._waiting.setdefault(spec.key, []).append(cell)
            if spec.key not in self._rankings or self._rankings[spec.key].depth < spec.depth:
                self._rankings[spec.key] = spec
        for key, spec in self._rankings.items():
            layers = self._waiting[key][0].model.layers
            published = begun.orders.get(key, ())
            self._order[key] = whole_order(published, alike(spec), layers)
            self._published[key] = 0
            cells = self._waiting[key]
            self._tails[key] = max(
                sum(map(self.expected_s, self._cell_stages(key, cell))) for cell in cells
            )
            self._need(spec)
            for _ in published[: spec.depth]:
                self.publish(spec)
        self._need_references()

    def _cell_stages(self, ranking: str, cell: Cell) -> tuple[StageSpec, ...]:
        if cell.key not in self._stages:
            layers = self.order_of(ranking)[: cell.removed]
            self._stages[cell.key] = cell_stages(cell, self._study, layers)
        return self._stages[cell.key]

    def order_of(self, ranking: str) -> Sequence[int]:
        """Return all layers in the order in which the ranking will publish them."""
        return self._order[ranking]

    def order(self, ranking_key: str) -> Sequence[int]:
        """Return the layers that a ranking has published so far."""
        return self._order[ranking_key][: self._published[ranking_key]]

    def done(self, key: str) -> bool:
        """Whether the stage is done."""
        return key in self._done

    def true_seconds(self, spec: StageSpec, layout: Layout) -> Sequence[float]:
        """Return the seconds that the stage will take; of a ranking, of each round to come."""
        return self.costs.true(spec, layout)[self._published.get(spec.key, 0) :]

    def expected_s(self, spec: StageSpec, layout: Layout | None = None) -> float:
        """Return the seconds in which the stage is expected to end; default: in its own layout."""
        seconds = self.costs.expected(spec, layout or self.costs.layouts(spec)[0])
        return sum(seconds[self._published.get(spec.key, 0) :])

    def _need(self, spec: StageSpec | Done, stages: Sequence[StageSpec] = ()) -> None:
        """Need a stage from now on, which those of ``stages`` from it on follow."""
        if isinstance(spec, Done):
            return
        self.needs[spec.key] = spec
        if spec.key in self._tails:
            behind = self._tails[spec.key]
        else:
            behind = sum(map(self.expected_s, _behind(spec, stages)))
        self.after[spec.key] = self.expected_s(spec) + behind

    def publish(self, spec: StageSpec) -> None:
        """Let a ranking publish its next round: cells of so many layers go on."""
        key = spec.key
        self._published[key] += 1
        left = []
        for cell in self._waiting[key]:
            if cell.removed > self._published[key]:
                left.append(cell)
                continue
            self._take_up(self._cell_stages(key, cell))
        self._waiting[key] = left
        self._need(spec)  # is shorter now
        if not left:
            self._end(key)

    def _take_up(self, stages: Sequence[StageSpec]) -> None:
        for stage in stages:
            if stage.key not in self._done:
                self._users.setdefault(stage.key, []).append(stages)
        self._need(first_needed_stage(stages, self), stages)

    def finish(self, spec: StageSpec) -> None:
        """Let a stage other than a ranking be done: whoever waited for it goes on."""
        self._end(spec.key)
        for stages in self._users.pop(spec.key, []):
            self._need(first_needed_stage(stages, self), stages)
        if spec.kind in (StageKind.DENSE, StageKind.MEASURE):
            self._need_references()

    def _need_references(self) -> None:
        for model in self._resolved.models.values():
            self._need(next_dense_stage(model, self._study, self))

    def _end(self, key: str) -> None:
        self._done.add(key)
        self.needs.pop(key, None)

    def followers(self, spec: StageSpec) -> Iterator[StageSpec]:
        """Yield the stages of a cell that come behind a stage of it, as far as none is done."""
        stages = next(iter(self._users.get(spec.key, ())), ())
        for stage in _behind(spec, stages):
            if stage.key in self._done:
                return
            yield stage

    def stages(self) -> dict[str, StageSpec]:
        """Return all distinct stages by key, the rankings first."""
        others = (stage for group in self._groups() for stage in group)
        return {each.key: each for each in (*self._rankings.values(), *others)}

    def left(self) -> dict[str, StageSpec]:
        """Return by key those of ``stages`` that are yet to be done; of a ranking, some rounds."""
        rankings = (spec for key, spec in self._rankings.items() if key not in self._done)
        others = (stage for group in self._groups() for stage in missing_stages(group, self))
        return {each.key: each for each in (*rankings, *others)}

    def _groups(self) -> Iterator[tuple[StageSpec, ...]]:
        """Yield the stages after the rankings: of each model's reference and of each cell."""
        for model in self._resolved.models.values():
            dense, measured = dense_spec(model, self._study), measure_spec(model, self._study, ())
            yield (dense, measured) if measured else (dense,)
        for ranking, cell in self._cells:
            yield self._cell_stages(ranking, cell)

    def rounds_left(self, ranking: StageSpec) -> int:
        """Return how many rounds of a ranking, to the deepest of its cells, are yet to be done."""
        return ranking.depth - self._published[ranking.key]

    def critical_path_s(self) -> float:
        """Return the true seconds of the longest chain of stages, a cell's from its ranking on.

        Scores are as fast as in the place of the training. A measurement hangs on that of its
        checkpoints which can be there first. What is done takes no time.
        """
        scored_s, measured = [0.0], dict[str, list[float]]()
        for key, cell in self._cells:
            stages = tuple(missing_stages(self._cell_stages(key, cell), self))
            rounds = slice(self._published[key], cell.removed)
            ranked_s = sum(self._seconds_of(self._rankings[key])[rounds])
            scored_s.append(ranked_s + self._shortest_s(stages))
            for stage in stages:
                if stage.kind is StageKind.MEASURE:
                    path_s = scored_s[-1] + sum(self._seconds_of(stage))
                    measured.setdefault(stage.key, []).append(path_s)
        return max(*scored_s, *map(min, measured.values()))

    def _seconds_of(self, spec: StageSpec) -> Sequence[float]:
        return self.costs.true(spec, self.costs.layouts(spec)[0])

    def _shortest_s(self, stages: Sequence[StageSpec]) -> float:
        """Return the least seconds of a cell's stages one after another, its measurement left out.

        Each is in the best of its own layout and those of others that it may share a process with.
        """
        own = [self.costs.layouts(stage)[0] for stage in stages]
        shared = [layout for layout in own if layout.ranks == 1 and layout.gpus]
        return sum(
            min(sum(self.costs.true(stage, place)) for place in (layout, *shared))
            for stage, layout in zip(stages, own, strict=True)
            if stage.kind is not StageKind.MEASURE
        )


def _behind(spec: StageSpec, stages: Sequence[StageSpec]) -> Sequence[StageSpec]:
    """Return those of a cell's stages that come after one of them; of none, none."""
    keys = [stage.key for stage in stages]
    return stages[keys.index(spec.key) + 1 :] if spec.key in keys else ()
