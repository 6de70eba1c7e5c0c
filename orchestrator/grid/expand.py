"""From a grid to its cells: the product of the axes, less what is excluded, plus what is included, each thing once.

Pure; knows how many layers a model has and nothing else of it. A combination that cannot be is a refusal, never an exception.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import isclose
from typing import Any

from orchestrator.grid.axes import AXES, Combination
from orchestrator.grid.cells import Cell, ModelInfo
from orchestrator.grid.labels import method_labels, method_name
from orchestrator.grid.schema import Grid
from trsp.config import Selector, Settings, Transfer
from trsp.errors import InvalidInputError


@dataclass(frozen=True)
class Point:
    """One combination of axis values, before the model is known."""

    models: str  # the entry's name
    selectors: Selector
    ratios: float
    gate_l1: float | None
    drift: float | None
    transfer: Transfer
    seeds: int


@dataclass(frozen=True)
class Refusal:
    """A combination that cannot be, and why."""

    model: str
    reason: str


@dataclass(frozen=True)
class Expansion:
    """What a grid asks for. ``unresolved``: combinations of models of which nothing is known, by the model's name."""

    cells: tuple[Cell, ...]
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    unresolved: Mapping[str, int] = field(default_factory=dict)

    def require(self, file: str) -> tuple[Cell, ...]:
        """The cells, or InvalidInputError with every refusal: a grid runs as it is written or not at all."""
        if self.refusals:
            raise InvalidInputError(
                "\n".join(f"{file}: {refusal.reason}" for refusal in self.refusals)
            )
        return self.cells


def expand(grid: Grid, models: Mapping[str, ModelInfo]) -> Expansion:
    """Every cell of the grid once, in the order of the axes. ``models`` maps the names of entries to what is known of them."""
    cells: dict[str, Cell] = {}
    refusals: dict[Refusal, None] = {}
    notes = [f"{note}; it leaves nothing out" for note in _idle_excludes(grid)]
    unresolved: dict[str, int] = {}
    asked = points(grid)
    label = _labels(asked)
    for point in asked:
        info = models.get(point.models)
        if info is None:
            unresolved[point.models] = unresolved.get(point.models, 0) + 1
            continue
        cell = _cell(point, info, label)
        if reason := _refused(cell):
            refusals[Refusal(info.name, reason)] = None
        elif (twin := cells.setdefault(cell.key, cell)) is not cell:
            notes.append(_merged(twin, cell))
    return Expansion(
        tuple(cells.values()), tuple(refusals), tuple(dict.fromkeys(notes)), unresolved
    )


def points(grid: Grid) -> tuple[Point, ...]:
    """All combinations asked for, with the axes collapsed that a method has no use for, each once."""
    asked = [
        point
        for point in _product(grid, {})
        if not any(_matches(grid, point, out) for out in grid.exclude)
    ]
    for combination in grid.include:
        asked.extend(_product(grid, _given(grid, combination)))
    return _distinct(_collapsed(point) for point in asked)


def _distinct(asked: Iterable[Point]) -> tuple[Point, ...]:
    """Settings hold no hashable promise, so equal points are found by their representation."""
    return tuple({repr(point): point for point in asked}.values())


def _given(grid: Grid, combination: Combination) -> dict[str, Sequence[Any]]:
    given: dict[str, Sequence[Any]] = {
        a: values for a in AXES if (values := getattr(combination, a)) is not None
    }
    if combination.models is not None:
        given["models"] = [grid.model(name).name for name in combination.models]
    return given


def _product(grid: Grid, given: Mapping[str, Sequence[Any]]) -> Iterator[Point]:
    """The product of the axes, ``given`` ones in place of the grid's; zipped axes that are both the grid's move together."""
    axes: dict[str, Sequence[Any]] = {axis: getattr(grid, axis) for axis in AXES}
    axes["models"] = [entry.name for entry in grid.models]
    axes |= given
    groups = [group for group in grid.zip if not set(group) & set(given)]
    grouped = {axis for group in groups for axis in group}
    groups += [(axis,) for axis in AXES if axis not in grouped]
    groups.sort(key=lambda group: min(AXES.index(axis) for axis in group))
    moves = [
        [
            dict(zip(group, values, strict=True))
            for values in zip(*(axes[a] for a in group), strict=True)
        ]
        for group in groups
    ]
    for chosen in product(*moves):
        yield Point(**{axis: value for part in chosen for axis, value in part.items()})


def _collapsed(point: Point) -> Point:
    """The same point with None (or seed 0) on every axis that cannot change its result."""
    seeded = point.selectors.uses_seed or point.transfer.name != "none"
    return replace(
        point,
        gate_l1=point.gate_l1 if point.selectors.uses_gate_l1 else None,
        drift=point.drift if point.transfer.uses_drift else None,
        seeds=point.seeds if seeded else 0,
    )


def _matches(grid: Grid, point: Point, pattern: Combination) -> bool:
    """Whether the point has, on every axis the pattern names, one of the pattern's values."""
    return all(
        any(_same(getattr(point, axis), wanted) for wanted in values)
        for axis, values in _given(grid, pattern).items()
    )


def _same(value: Any, wanted: Any) -> bool:
    """Numbers to rounding; methods by the settings that the pattern spells out."""
    if isinstance(wanted, Settings):
        spelled = wanted.model_fields_set | {"name"}
        return type(value) is type(wanted) and all(
            getattr(value, key) == getattr(wanted, key) for key in spelled
        )
    if isinstance(wanted, float):
        return isclose(value, wanted, rel_tol=1e-9)
    return bool(value == wanted)


def _idle_excludes(grid: Grid) -> Iterator[str]:
    everything = list(_product(grid, {})) if grid.exclude else []
    for i, pattern in enumerate(grid.exclude):
        if not any(_matches(grid, point, pattern) for point in everything):
            yield f"exclude[{i}] matches no combination of the axes"


def _labels(asked: Iterable[Point]) -> dict[str, str]:
    """A short label for every selector and transfer, by its representation."""
    labels: dict[str, str] = {}
    for axis in ("selectors", "transfer"):
        methods = list(
            {repr(getattr(point, axis)): getattr(point, axis) for point in asked}.values()
        )
        labels |= dict(zip(map(repr, methods), method_labels(methods), strict=True))
    return labels


def _cell(point: Point, info: ModelInfo, label: Mapping[str, str]) -> Cell:
    return Cell(
        model=info,
        selector=point.selectors,
        ratio=point.ratios,
        gate_l1=point.gate_l1,
        transfer=point.transfer,
        drift=point.drift,
        seed=point.seeds,
        selector_label=label[repr(point.selectors)],
        transfer_label=label[repr(point.transfer)],
    )


def _refused(cell: Cell) -> str | None:
    """Why this many layers cannot go, or None."""
    layers, removed, method = cell.model.layers, cell.removed, method_name(cell.selector)
    protected = cell.selector.protect_first + cell.selector.protect_last
    free = max(0, layers - protected)
    ratio = f"ratio {cell.ratio:g}"
    if removed < 1:
        return f"{ratio} removes none of the {layers} layers of {cell.model.name}; raise it to {1 / layers:.3g} or more"
    if removed >= layers:
        most = f"{1 - 1 / layers:.3g}"
        return f"{ratio} removes all {layers} layers of {cell.model.name} and leaves none; lower it to {most} or less"
    if removed > free:
        return (
            f"{ratio} removes {removed} of {layers} layers of {cell.model.name}, but {method} protects {protected} "
            f"and only {free} may go; lower it, or protect fewer"
        )
    return None


def _merged(twin: Cell, cell: Cell) -> str:
    if twin.model.name != cell.model.name:
        return f"models {twin.model.name} and {cell.model.name} have the same content: their equal cells are one"
    return (
        f"{cell.model.name}: ratios {twin.ratio:g} and {cell.ratio:g} both remove {cell.removed} of {cell.model.layers} "
        f"layers: their equal cells are one, under {twin.ratio:g}"
    )
