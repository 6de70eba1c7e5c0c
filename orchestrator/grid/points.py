"""Combinations of axis values: the axes' product, less what is excluded, plus what is included.

Pure; knows neither models nor cells.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import isclose
from typing import Any, Literal

from orchestrator.grid.axes import AXES, AxisName, Combination
from orchestrator.grid.schema import Grid
from trsp.config import DriftSettings, Selector, Settings, Transfer


@dataclass(frozen=True)
class Point:
    """One combination of axis values, before the model is known. Fields are named as the axes."""

    models: str  # the entry's name
    selectors: Selector
    ratios: float | Literal["auto"]
    gate_l1: float | None
    drift: float | None
    transfer: Transfer
    seeds: int


def points(grid: Grid) -> tuple[Point, ...]:
    """Return all combinations that a grid asks for, each once.

    An axis that the combination's methods have no use for does not tell combinations apart.
    """
    combinations = [
        point
        for point in _product(grid, {})
        if not any(_matches(grid, point, pattern) for pattern in grid.exclude)
    ]
    for combination in grid.include:
        combinations.extend(_product(grid, _named_values(grid, combination)))
    return _distinct(_without_unused_axes(point) for point in combinations)


def idle_excludes(grid: Grid) -> list[str]:
    """Return a note for every exclude that matches no combination of the axes."""
    everything = list(_product(grid, {})) if grid.exclude else []
    return [
        f"exclude[{i}] matches no combination of the axes; it leaves nothing out"
        for i, pattern in enumerate(grid.exclude)
        if not any(_matches(grid, point, pattern) for point in everything)
    ]


def _distinct(combinations: Iterable[Point]) -> tuple[Point, ...]:
    """Return the points without repetitions, by their text: settings do not promise a hash."""
    return tuple({repr(point): point for point in combinations}.values())


def _named_values(grid: Grid, combination: Combination) -> dict[AxisName, Sequence[Any]]:
    """Return the values of the axes that a combination names; models by the names of entries."""
    named: dict[AxisName, Sequence[Any]] = {}
    for axis in AXES:
        values = getattr(combination, axis)
        if values is not None:
            named[axis] = values
    if combination.models is not None:
        named["models"] = [grid.model(name).name for name in combination.models]
    return named


def _product(grid: Grid, named: Mapping[AxisName, Sequence[Any]]) -> Iterator[Point]:
    """Yield the product of the axes; ``named`` values take the place of the grid's own."""
    axes: dict[AxisName, Sequence[Any]] = {axis: getattr(grid, axis) for axis in AXES}
    axes["models"] = [entry.name for entry in grid.models]
    axes["drift"] = grid.drift or (None,)
    axes.update(named)
    groups = _groups_of_axes(grid, named)
    for parts in product(*(_joint_values(group, axes) for group in groups)):
        values: dict[str, Any] = {}
        for part in parts:
            values.update(part)
        yield _with_own_strength(Point(**values))


def _groups_of_axes(
    grid: Grid, named: Mapping[AxisName, Sequence[Any]]
) -> list[tuple[AxisName, ...]]:
    """Return the axes in groups that move together, in the order of AXES.

    Those are the grid's zips, unless one of their axes is named by a combination; every other axis
    is a group of its own.
    """
    zips = [group for group in grid.zip if not set(group) & set(named)]
    zipped = {axis for group in zips for axis in group}
    alone = [(axis,) for axis in AXES if axis not in zipped]
    return sorted([*zips, *alone], key=lambda group: min(AXES.index(axis) for axis in group))


def _joint_values(
    group: Sequence[AxisName], axes: Mapping[AxisName, Sequence[Any]]
) -> list[dict[str, Any]]:
    """Return the steps of axes that move together: at each, a value for every axis of the group."""
    columns = [axes[axis] for axis in group]
    return [dict(zip(group, row, strict=True)) for row in zip(*columns, strict=True)]


def _with_own_strength(point: Point) -> Point:
    """Return the point with the lambda_2 of its own transfer where the grid names none."""
    if point.drift is not None or not isinstance(point.transfer, DriftSettings):
        return point
    return replace(point, drift=point.transfer.default_strength)


def _without_unused_axes(point: Point) -> Point:
    """Return the point with None (or seed 0) on every axis that cannot change its result."""
    seeded = point.selectors.uses_seed or point.transfer.name != "none"
    return replace(
        point,
        gate_l1=point.gate_l1 if point.selectors.uses_gate_l1 else None,
        drift=point.drift if point.transfer.uses_drift else None,
        seeds=point.seeds if seeded else 0,
    )


def _matches(grid: Grid, point: Point, pattern: Combination) -> bool:
    """Whether the point has, on every axis the pattern names, one of the pattern's values."""
    for axis, patterns in _named_values(grid, pattern).items():
        if not any(_same(getattr(point, axis), each) for each in patterns):
            return False
    return True


def _same(value: Any, pattern: Any) -> bool:
    """Whether a value is meant by a pattern's.

    Numbers are compared to rounding, methods by the settings that the pattern spells out.
    """
    if isinstance(pattern, Settings):
        spelled = pattern.model_fields_set | {"name"}
        return type(value) is type(pattern) and all(
            getattr(value, key) == getattr(pattern, key) for key in spelled
        )
    if isinstance(pattern, float):
        return isinstance(value, float) and isclose(value, pattern, rel_tol=1e-9)
    return bool(value == pattern)
