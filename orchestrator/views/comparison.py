"""Two checkpoints side by side: every score with how sure its difference is, sizes, layers. Pure.

Of two cells, or of a cell and the unpruned model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.grid.cells import Cell
from orchestrator.stages.stage_specs import StageKind
from orchestrator.views.budget import Comparison, compare
from orchestrator.views.grid_view import MEASURED, CellView, DenseView
from orchestrator.views.named import find_cell
from orchestrator.views.versions import version_differences
from trsp.errors import InvalidInputError
from trsp.records import lower_is_better

Side = CellView | DenseView
_SIZES = ("params", "bytes", "kv_bytes_per_token")


@dataclass(frozen=True)
class Row:
    """One number of both sides; None where a side has none."""

    name: str
    first: float | None
    second: float | None
    comparison: Comparison | None = None  # of a score; second minus first

    @property
    def is_score(self) -> bool:
        """Whether it is a score, which is uncertain, and no size or time."""
        return self.name not in _SIZES and not self.name.endswith(MEASURED)

    @property
    def verdict(self) -> str:
        """``tie``, ``first`` or ``second`` (the better one); "" where that cannot be known."""
        if self.comparison is None:
            return ""
        if self.comparison.tie or not self.comparison.difference:
            return "tie"
        return "second" if (self.comparison.difference < 0) == self._lower_is_better else "first"

    @property
    def _lower_is_better(self) -> bool:
        assert self.comparison is not None
        return self.comparison.paired or lower_is_better(self.name)


@dataclass(frozen=True)
class SideBySide:
    """What ``compare_sides`` answers."""

    first: Side
    second: Side
    rows: tuple[Row, ...]  # scores, then sizes, then times and memory
    settings: tuple[tuple[str, str, str], ...]  # that differ: name, of the first, of the second
    warnings: tuple[str, ...]

    @property
    def names(self) -> tuple[str, str]:
        """What both are called."""
        return side_name(self.first), side_name(self.second)

    @property
    def is_one(self) -> bool:
        """Whether both are the same checkpoint."""
        uris = [getattr(side, "checkpoint_uri", None) for side in (self.first, self.second)]
        return uris[0] is not None and uris[0] == uris[1]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON for programs; differences are the second's minus the first's."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "same_checkpoint": self.is_one,
            "rows": [
                {
                    "name": row.name,
                    "first": row.first,
                    "second": row.second,
                    "comparison": row.comparison and asdict(row.comparison),
                    "verdict": row.verdict or None,
                }
                for row in self.rows
            ],
            "removed_layers": [_removed(self.first), _removed(self.second)],
            "settings": [list(each) for each in self.settings],
            "warnings": list(self.warnings),
        }


def find_side(cells: Sequence[CellView], dense: Sequence[DenseView], text: str) -> Side:
    """Return the cell that ``text`` means (see ``find_cell``), or the unpruned model for ``dense``.

    Of several models it is ``MODEL dense``. InvalidInputError where that is none, or several.
    """
    *model, last = text.split() or [""]
    if last.lower() != "dense":
        return find_cell(cells, text)
    found = [each for each in dense if not model or " ".join(model) == each.model.name]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"'{each.model.name} dense'" for each in dense)
    raise InvalidInputError(f"{text!r} is no unpruned model of this grid: it has {names}")


def side_name(side: Side) -> str:
    """Return what a side is called."""
    return side.cell.name if isinstance(side, CellView) else f"{side.model.name} dense"


def compare_sides(first: Side, second: Side) -> SideBySide:
    """Return two checkpoints side by side. InvalidInputError where one of them has no numbers."""
    for side in (first, second):
        if not side.metrics():
            raise InvalidInputError(
                f"nothing is known of {side_name(side)!r} yet: it is {side.status}; compare it "
                "once it has scores"
            )
    return SideBySide(
        first,
        second,
        tuple(_rows(first, second)),
        tuple(_settings(first, second)),
        tuple(_warnings(first, second)),
    )


def _rows(first: Side, second: Side) -> Iterator[Row]:
    mine, others = first.metrics(), second.metrics()
    names = dict.fromkeys((*mine, *others))
    rows = [
        Row(name, mine.get(name), others.get(name), _compared(first, second, name))
        for name in names
    ]
    yield from (row for row in rows if row.is_score)
    yield from (row for row in rows if row.name in _SIZES)
    yield from (row for row in rows if not row.is_score and row.name not in _SIZES)


def _compared(first: Side, second: Side, name: str) -> Comparison | None:
    is_score = first.evaluation is not None and name in first.evaluation.scores
    return compare(first.evaluation, second.evaluation, name) if is_score else None


def _removed(side: Side) -> list[int]:
    return sorted(side.layers or ()) if isinstance(side, CellView) else []


def common_layers(both: SideBySide) -> tuple[list[int], list[int], list[int]]:
    """Return the removed layers that both have in common, and those of the first and second only.

    Of different models the same numbers mean different layers.
    """
    first, second = set(_removed(both.first)), set(_removed(both.second))
    return sorted(first & second), sorted(first - second), sorted(second - first)


def _settings(first: Side, second: Side) -> Iterator[tuple[str, str, str]]:
    """Yield the settings that differ: their names and both values, ``-`` where there is none.

    Of two methods of different names, the names only; of an unpruned model, nothing.
    """
    if isinstance(first, DenseView) or isinstance(second, DenseView):
        return
    mine, others = _flat(_asked(first.cell)), _flat(_asked(second.cell))
    for name in dict.fromkeys((*mine, *others)):
        method = f"{name.partition('.')[0]}.name"
        apart = mine.get(method) != others.get(method)
        if mine.get(name) != others.get(name) and (name == method or not apart):
            label = name.removesuffix(".name")
            yield label, str(mine.get(name, "-")), str(others.get(name, "-"))


def _asked(cell: Cell) -> dict[str, Any]:
    """Return the combination of a grid's axes that a cell is."""
    return {
        "model": cell.model.name,
        "removed": cell.removed,
        "selector": cell.selector.model_dump(mode="json"),
        "gate_l1": cell.gate_l1,
        "transfer": cell.transfer.model_dump(mode="json"),
        "drift": cell.drift,
        "seed": cell.seed,
    }


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested settings under one name each, such as ``transfer.steps``, without None."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        elif value is not None:
            flat[f"{before}{name}"] = value
    return flat


def _warnings(first: Side, second: Side) -> Iterator[str]:
    """Yield why numbers of the two may not be comparable."""
    for kind, what in ((StageKind.EVALUATE, "scores"), (StageKind.MEASURE, "latencies")):
        versions = first.versions.get(kind, {}), second.versions.get(kind, {})
        found = "; ".join(version_differences(*versions))
        if found:
            yield f"the {what} of the two were computed differently: {found}"
    for side in (first, second):
        if side.measurement is not None and side.measurement.doubt:
            yield f"the latency of {side_name(side)} is in doubt: {side.measurement.doubt}"
