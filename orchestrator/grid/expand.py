"""From a grid to its cells: every combination once, with what is known of its model.

A combination that cannot be is a refusal, never an exception. Pure; knows how many layers a model
has and nothing else of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.grid.cells import Cell, ModelInfo
from orchestrator.grid.fitting.fit import Fit, fit
from orchestrator.grid.fitting.sizes import size_lines
from orchestrator.grid.labels import method_labels, method_name, named
from orchestrator.grid.points import Point, idle_excludes, points
from orchestrator.grid.schema import Grid
from orchestrator.grid.shorthand import AUTO, WrittenNumber, as_written
from trsp.config import DriftSettings, NoTransfer
from trsp.config.engine import lora_refusal
from trsp.errors import InvalidInputError

_NOTHING_LEFT = (
    "exclude leaves no combination of the axes, so that nothing would be computed; "
    "exclude less, or include something"
)
_NOTHING_TO_MEET = (
    "ratios: auto finds nothing to remove, since no budget asks for it of any model; lower a "
    "budget, or write ratios such as [1/10, 1/5]"
)


@dataclass(frozen=True)
class Refusal:
    """A combination, model or text that cannot be, and why."""

    model: str  # empty where it is of no model in particular
    reason: str


@dataclass(frozen=True)
class Expansion:
    """What a grid asks for: its cells, what cannot be, and what people should know."""

    cells: tuple[Cell, ...]
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    # Number of combinations of each model of which nothing is known, by the model's name.
    unresolved: Mapping[str, int] = field(default_factory=dict)
    fits: tuple[Fit, ...] = ()  # what ``ratios: auto`` comes to, of each model

    def require(self, file: str) -> tuple[Cell, ...]:
        """Return the cells. InvalidInputError names every refusal, if there are any.

        A grid runs as it is written or not at all.
        """
        if self.refusals:
            raise InvalidInputError(
                "\n".join(f"{file}: {refusal.reason}" for refusal in self.refusals)
            )
        return self.cells


def expand(grid: Grid, models: Mapping[str, ModelInfo]) -> Expansion:
    """Return every cell of the grid once, in the order of the axes.

    ``models`` maps the names of model entries to what is known of them.
    """
    cells: dict[str, Cell] = {}
    refusals: dict[Refusal, None] = {}
    combinations = points(grid)
    notes = [*idle_excludes(grid), *_text_notes(grid), *_strength_notes(combinations)]
    unresolved: dict[str, int] = {}
    if not combinations:
        refusals[Refusal("", _NOTHING_LEFT)] = None
    labels = _labels_by_repr(combinations)
    fits = _fits(grid, combinations, models)
    for each in fits.values():
        notes.extend(each.notes)
        refusals.update(dict.fromkeys(Refusal(each.model, reason) for reason in each.refusals))
    for point in combinations:
        info = models.get(point.models)
        if info is None or (point.ratios == AUTO and info.shape is None):
            unresolved[point.models] = unresolved.get(point.models, 0) + 1
            continue
        for cell, origin in _cells(point, info, labels, fits.get(point.models)):
            reason = _refusal_reason(cell) or _engine_refusal(cell, grid)
            if reason is not None:
                refusals[Refusal(info.name, reason + origin)] = None
                continue
            twin = cells.setdefault(cell.key, cell)
            if twin is not cell and twin.ratio != cell.ratio:
                notes.append(_merge_note(twin, cell))
    if not (cells or refusals or unresolved):
        refusals[Refusal("", _NOTHING_TO_MEET)] = None
    distinct_notes = tuple(dict.fromkeys(notes))
    several = len({point.models for point in combinations}) > 1
    return Expansion(
        named(tuple(cells.values()), several),
        tuple(refusals),
        distinct_notes,
        unresolved,
        tuple(fits.values()),
    )


def _fits(
    grid: Grid, combinations: Sequence[Point], models: Mapping[str, ModelInfo]
) -> dict[str, Fit]:
    """Return what ``ratios: auto`` comes to, by the names of the models that are asked for so."""
    budgets = {budget.alias: budget.limits for budget in grid.budgets if budget.limits}
    fits: dict[str, Fit] = {}
    for name in dict.fromkeys(point.models for point in combinations if point.ratios == AUTO):
        info = models.get(name)
        if info is None or info.shape is None:
            continue
        weight_bytes = info.shape.weight_bytes(grid.precision)
        lines = size_lines(info.shape, weight_bytes, grid.model(name).latency_ms)
        fits[name] = fit(name, info.layers, lines, budgets)
    return fits


def _text_notes(grid: Grid) -> Iterator[str]:
    """Yield what people are told of a calibration text whose rows are lines of articles."""
    calibration, text = grid.calibration, grid.calibration.text
    lines = "wikitext" in (text.dataset or "").lower() and text.document_start is None
    if lines and calibration.cut == "documents":
        yield (
            f"calibration text {text.name!r}: every row of {text.dataset} is a line, so that "
            "blocks are made of shuffled lines; set document_start: '^ = [^=]' for whole articles"
        )


def _strength_notes(combinations: Sequence[Point]) -> Iterator[str]:
    """Yield what people are told of a lambda_2 that belongs to the other scale of the drift."""
    for point in combinations:
        if isinstance(point.transfer, DriftSettings) and point.drift is not None:
            misfit = point.transfer.misfit(point.drift)
            if misfit is not None:
                yield f"{method_name(point.transfer)}: {misfit}"


def _labels_by_repr(combinations: Sequence[Point]) -> dict[str, str]:
    """Return a short label for every selector and transfer, by its representation."""
    selectors = {repr(point.selectors): point.selectors for point in combinations}
    transfers = {repr(point.transfer): point.transfer for point in combinations}
    return {
        **dict(zip(selectors, method_labels(list(selectors.values())), strict=True)),
        **dict(zip(transfers, method_labels(list(transfers.values())), strict=True)),
    }


def _cells(
    point: Point, info: ModelInfo, labels: Mapping[str, str], fitted: Fit | None
) -> Iterator[tuple[Cell, str]]:
    """Yield the cells of a combination, and for people where a number is from that no file names.

    That is one cell, or with ``ratios: auto`` one for each number of layers.
    """
    if point.ratios != AUTO:
        yield _cell(point, point.ratios, info, labels), ""
        return
    assert fitted is not None  # the model's shape is known
    for removed in fitted.counts:
        origin = f" (ratios: auto, for budget {fitted.budgets(removed)})"
        ratio = WrittenNumber(removed / info.layers, f"{removed}/{info.layers}")
        yield _cell(point, ratio, info, labels), origin


def _cell(point: Point, ratio: float, info: ModelInfo, labels: Mapping[str, str]) -> Cell:
    return Cell(
        model=info,
        selector=point.selectors,
        ratio=ratio,
        gate_l1=point.gate_l1,
        transfer=point.transfer,
        drift=point.drift,
        seed=point.seeds,
        selector_label=labels[repr(point.selectors)],
        transfer_label=labels[repr(point.transfer)],
    )


def _refusal_reason(cell: Cell) -> str | None:
    """Return why this many layers cannot go, and what can be done about it; None where they can."""
    model, layers, removed = cell.model.name, cell.model.layers, cell.removed
    ratio = f"ratio {as_written(cell.ratio)}"
    if removed < 1:
        least = f"{1 / layers:.3g}"
        return (
            f"{ratio} removes none of the {layers} layers of {model}; raise it to {least} or more"
        )
    if removed >= layers:
        most = f"{1 - 1 / layers:.3g}"
        return (
            f"{ratio} removes all {layers} layers of {model} and leaves none; "
            f"lower it to {most} or less"
        )
    protected = cell.selector.protect_first + cell.selector.protect_last
    free = max(0, layers - protected)
    if removed > free:
        return (
            f"{ratio} removes {removed} of {layers} layers of {model}, "
            f"but {method_name(cell.selector)} protects {protected} and only {free} may go; "
            "lower it, or protect fewer"
        )
    return None


def _engine_refusal(cell: Cell, grid: Grid) -> str | None:
    """Return why the grid's engine cannot train the cell, and the cure; None where it can."""
    transfer, engine = cell.transfer, grid.engine
    if engine == "auto" or isinstance(transfer, NoTransfer) or transfer.lora is None:
        return None
    return lora_refusal(engine)


def _merge_note(twin: Cell, cell: Cell) -> str:
    """Return what people are told when a cell equals an earlier one of the grid, its twin."""
    if twin.model.name != cell.model.name:
        return (
            f"models {twin.model.name} and {cell.model.name} have the same content: "
            "their equal cells are one"
        )
    kept, same = as_written(twin.ratio), as_written(cell.ratio)
    return (
        f"{cell.model.name}: ratios {kept} and {same} both remove {cell.removed} "
        f"of {cell.model.layers} layers: their equal cells are one, under {kept}"
    )
