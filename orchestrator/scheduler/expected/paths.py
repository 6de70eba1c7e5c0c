"""The longest path that hangs on each stage that a grid needs, by the seconds that are expected.

What the grid's own results say of like stages is taken up as they come in: nothing is read for it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.grid.cells import Cell, ModelInfo
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.expected.durations import Durations, as_it_ran
from orchestrator.scheduler.expected.effort import (
    ROUND_BY_ROUND,
    Effort,
    effort_of,
    evaluation_effort,
)
from orchestrator.stages.next_stages import Done
from orchestrator.stages.stage_specs import StageKind, StageSpec, cell_stages, measure_spec
from orchestrator.stages.timings import Phase
from orchestrator.views.grid_view import CellView, DenseView
from orchestrator.views.parts import GridParts, Part


@dataclass
class Expected:
    """Seconds that are expected, by the keys of the stages that are needed now.

    ``seconds``: of the stage alone; of a ranking, of the rounds that it still lacks. ``after``: of
    the longest path that begins with the stage, itself included.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Path:
    """What a cell still lacks: of a group of cells alike, the stages of these kinds, in order."""

    group: int
    kinds: tuple[StageKind, ...]  # the stage that it needs now is the first


class Expectations:
    """What is expected of one grid's stages.

    A step costs what has changed: a cell's path is looked at where the cell is another one than
    before, and the effort of a ranking where it has published a round. Only the seconds of the
    stages that are needed are summed up anew, for each result makes all of them a bit better.
    """

    def __init__(self, parts: GridParts) -> None:
        self._parts = parts
        self._durations = Durations()
        self._learned: dict[str, int] = {}  # stages that are taken up; of rankings, how many rounds
        self._layouts: dict[tuple[str, StageKind], Layout] = {}  # by model, as chosen last
        self._rankings = {spec.key: spec for spec in parts.ranked_by}
        cells = parts.resolved.cells
        # Cells whose stages after the ranking take as long: of each group, one.
        groups: dict[object, int] = {}
        names = [(cell.model.name, cell.transfer, cell.removed) for cell in cells]
        self._group_of = [groups.setdefault(name, len(groups)) for name in names]
        examples = [cells[self._group_of.index(group)] for group in groups.values()]
        self._rest = [_rest(parts, cell) for cell in examples]
        self._removed = [cell.removed for cell in examples]
        self._cells: Sequence[Part[CellView] | None] = [None] * len(cells)
        self._paths: list[tuple[StageSpec, _Path] | None] = [None] * len(cells)
        # By the stage that cells need now, the different paths that begin with it; how many cells
        # have each.
        self._behind: dict[str, tuple[StageSpec, Counter[_Path]]] = {}
        # Of a ranking to a depth: the rounds that were done, and the effort that was left then.
        self._efforts: dict[tuple[str, int], tuple[int, Effort]] = {}
        self._needs: object = None
        self._expected = Expected()

    def given(self, layouts: Mapping[str, Layout]) -> Expected:
        """Return what is expected of the stages that are needed now, on these layouts by key.

        It is the same object while no part of the grid has changed.
        """
        needs = self._parts.needs
        if needs is not self._needs:
            self._needs = needs
            for spec in needs:
                if spec.key in layouts:
                    self._layouts[_model_of(spec), spec.kind] = layouts[spec.key]
            self._learn()
            self._expected = self._made()
        return self._expected

    # --- what was measured -----------------------------------------------------

    def _learn(self) -> None:
        """Take up what the parts that have changed say: what is done, and what is left to do."""
        for index, part in enumerate(self._parts.cells):
            if part is not self._cells[index]:
                if part.view.seconds:
                    self._learn_cell(index, part.view)
                self._look_at_path(index, part)
        self._cells = list(self._parts.cells)
        for ranking in self._parts.rankings:
            rounds, done = ranking.view.rounds, self._learned.get(ranking.view.key, 0)
            if len(rounds) > done:
                self._learned[ranking.view.key] = len(rounds)
                self._learn_rounds(ranking.view.key, [each.seconds for each in rounds], done)

    def _learn_cell(self, index: int, view: CellView) -> None:
        removed = view.cell.removed
        for spec in self._parts.stages_of(index)[1]:
            if spec.kind not in view.seconds or spec.key in self._learned:
                continue
            self._learned[spec.key] = 1
            layout, seconds = self._layout(spec), view.seconds[spec.kind]
            if times := self._parts.results.timings(spec.key):
                worked_s = times.worked_s - times.seconds.get(Phase.IMPORTS, 0.0)
                seconds = max(seconds, worked_s)  # what an evaluation found is in its own seconds
                layout = as_it_ran(layout, times.ranks, times.cpus, times.gpus)
            effort = _effort_of(spec, view.cell.model, removed)
            self._durations.learn(spec, effort, layout, seconds)

    def _learn_rounds(self, key: str, seconds: Sequence[float], done: int) -> None:
        spec = self._rankings[key]
        if spec.inputs["selector"]["name"] not in ROUND_BY_ROUND:
            done = 0
        model = self._parts.resolved.models[_model_of(spec)]
        effort = effort_of(replace(spec, depth=len(seconds)), model, done)
        self._durations.learn(spec, effort, self._layout(spec), sum(seconds[done:]))

    # --- what follows ----------------------------------------------------------

    def _look_at_path(self, index: int, part: Part[CellView]) -> None:
        """Take up which stages a cell that has changed still lacks, in place of what it did."""
        if (before := self._paths[index]) is not None:
            spec, path = before
            _, paths = self._behind[spec.key]
            paths[path] -= 1
            if not paths[path]:
                del paths[path]
            if not paths:
                del self._behind[spec.key]
        self._paths[index] = after = self._path(index, part)
        if after is not None:
            spec, path = after
            self._behind.setdefault(spec.key, (spec, Counter()))[1][path] += 1

    def _path(self, index: int, part: Part[CellView]) -> tuple[StageSpec, _Path] | None:
        """Return the stage that a cell needs now and its path; None where it needs nothing."""
        need, group, done = part.needed, self._group_of[index], part.view.seconds
        if isinstance(need, Done):
            return None
        kinds = [spec.kind for spec, _ in self._rest[group]]
        behind = kinds if need.kind is StageKind.RANKING else kinds[kinds.index(need.kind) + 1 :]
        left = (kind for kind in behind if kind not in done)
        return need, _Path(group, (need.kind, *left))

    def _made(self) -> Expected:
        expected = Expected()
        rest = [self._seconds(stages) for stages in self._rest]
        for spec, paths in self._behind.values():
            own_s, path_s = zip(*(self._path_s(spec, path, rest) for path in paths), strict=True)
            expected.seconds[spec.key], expected.after[spec.key] = max(own_s), max(path_s)
        for dense in self._parts.dense:
            self._add_dense(dense, expected)
        return expected

    def _path_s(
        self, spec: StageSpec, path: _Path, rest: Sequence[Mapping[StageKind, float]]
    ) -> tuple[float, float]:
        """Return the seconds of the stage that a path begins with, and of all of the path."""
        later = rest[path.group]
        if spec.kind is StageKind.RANKING:
            own_s = self._ranking_s(spec, self._removed[path.group])
        else:
            own_s = later[spec.kind]
        return own_s, own_s + sum(later[kind] for kind in path.kinds[1:])

    def _add_dense(self, part: Part[DenseView], expected: Expected) -> None:
        """Take up the unpruned model: its scores, and then its speed."""
        need, model, study = part.needed, part.view.model, self._parts.resolved.study
        if isinstance(need, Done):
            return
        own_s = path_s = self._expected_s(need, _effort_of(need, model, 0))
        measure = measure_spec(model, study, ())
        if need.kind is StageKind.DENSE and measure and part.view.measurement is None:
            path_s += self._expected_s(measure, effort_of(measure, model))
        expected.seconds[need.key] = max(own_s, expected.seconds.get(need.key, 0.0))
        expected.after[need.key] = max(path_s, expected.after.get(need.key, 0.0))

    def _ranking_s(self, spec: StageSpec, depth: int) -> float:
        """Return the seconds of the rounds up to ``depth`` that a ranking lacks."""
        done = self._learned.get(spec.key, 0)
        then, effort = self._efforts.get((spec.key, depth), (None, Effort()))
        if then != done:
            model = self._parts.resolved.models[_model_of(spec)]
            effort = effort_of(replace(spec, depth=depth), model, done)
            self._efforts[spec.key, depth] = done, effort
        return self._expected_s(spec, effort)

    def _seconds(self, stages: Sequence[tuple[StageSpec, Effort]]) -> dict[StageKind, float]:
        return {spec.kind: self._expected_s(spec, effort) for spec, effort in stages}

    def _expected_s(self, spec: StageSpec, effort: Effort) -> float:
        return self._durations.expected_s(spec, effort, self._layout(spec))

    def _layout(self, spec: StageSpec) -> Layout:
        """Return the layout of stages of this kind and model, or of any of the model's."""
        model = _model_of(spec)
        known = self._layouts.get((model, spec.kind))
        others = (layout for (name, _), layout in self._layouts.items() if name == model)
        return known or next(others, Layout())


def _rest(parts: GridParts, cell: Cell) -> tuple[tuple[StageSpec, Effort], ...]:
    """Return a cell's stages after its ranking and their efforts, as if its first layers went."""
    return tuple(
        (spec, _effort_of(spec, cell.model, cell.removed))
        for spec in cell_stages(cell, parts.resolved.study, range(cell.removed))
    )


def _effort_of(spec: StageSpec, model: ModelInfo, removed: int) -> Effort:
    scores = spec.kind in (StageKind.EVALUATE, StageKind.DENSE)
    return evaluation_effort(spec, model, removed) if scores else effort_of(spec, model)


def _model_of(spec: StageSpec) -> str:
    return str(spec.locations["model"]["name"])
