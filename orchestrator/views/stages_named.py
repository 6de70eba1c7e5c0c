"""Which stages of a grid people mean: by a cell and perhaps a kind, or by the stage's key. Pure."""

from dataclasses import dataclass

from orchestrator.stages.stage_specs import SCHEDULED
from orchestrator.views.comparison import find_side, side_name
from orchestrator.views.grid_view import CellView, DenseView, GridView, Status
from trsp.errors import InvalidInputError, unknown_name


@dataclass(frozen=True)
class NamedStage:
    """A stage, and the cell or unpruned model by which it was named."""

    kind: str
    key: str
    of: str


def find_stages(view: GridView, text: str, kind: str = "") -> tuple[NamedStage, ...]:
    """Return the stages that ``text`` means, in their order: of a cell, all that are known.

    ``text``: a cell (see ``find_cell``), the unpruned model (``dense``), or the beginning of a
    stage's key (``transfer-1f3a``). ``kind``: of these, only that. InvalidInputError for others.
    """
    if kind and kind not in SCHEDULED:
        raise InvalidInputError(unknown_name("stage", kind, map(str, SCHEDULED)))
    if text.partition("-")[0] in SCHEDULED and "-" in text:
        return (_by_key(view.parts, text),)
    side = find_side(view.cells, view.dense, text)
    found = _stages_of(side)
    chosen = tuple(stage for stage in found if kind in ("", stage.kind))
    if not chosen:
        raise InvalidInputError(_lacking(side, kind, found))
    return chosen


def current_stage(view: GridView, text: str) -> NamedStage | None:
    """Return the stage that a cell or unpruned model is in, or waits for; None where it is done."""
    side = find_side(view.cells, view.dense, text)
    if side.status is Status.DONE:
        return None
    stages = _stages_of(side)
    stage = side.stage if isinstance(side, CellView) else stages[0].kind
    return next((each for each in stages if each.kind == stage), stages[0])


def _stages_of(side: CellView | DenseView) -> tuple[NamedStage, ...]:
    name = side_name(side)
    return tuple(NamedStage(str(kind), key, name) for kind, key in side.stage_keys.items())


def _by_key(parts: tuple[CellView | DenseView, ...], start: str) -> NamedStage:
    """Return the one stage whose key begins so; of a shared one, as that of its first cell."""
    stages = [stage for part in parts for stage in _stages_of(part) if stage.key.startswith(start)]
    keys = list(dict.fromkeys(stage.key for stage in stages))
    if len(keys) == 1:
        return stages[0]
    if keys:
        raise InvalidInputError(
            f"{start!r} begins several keys: {', '.join(keys)}; give more of it"
        )
    raise InvalidInputError(f"no stage of this grid has a key that begins with {start!r}")


def _lacking(side: CellView | DenseView, kind: str, found: tuple[NamedStage, ...]) -> str:
    has = ", ".join(stage.kind for stage in found)
    later = isinstance(side, CellView) and side.layers is None
    why = "; its other stages are known once its layers are chosen" if later else ""
    return f"{side_name(side)!r} has no stage {kind!r}: it has {has}{why}"
