"""Short names of methods and cells for people: what tells each of them from the grid's others.

Nothing is keyed by them: what a cell is, its key says.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.grid.cells import Cell
from orchestrator.grid.shorthand import as_written, shortest
from trsp.config import Settings


def method_name(method: Any) -> str:
    """Return ``gates``, ``gates(paper)`` or ``gates(placement=output)``.

    That is the name of a selector or transfer, its preset, and what differs from the defaults.
    """
    settings, defaults = method.model_dump(), _preset_as_it_is(method).model_dump()
    shown = [key for key in settings if key == "preset" or settings[key] != defaults[key]]
    return _label(method, shown)


def method_labels(methods: Sequence[Any]) -> list[str]:
    """Return a label per selector or transfer: what tells these apart, and no more.

    A name that one method has is its label. Where several share it, their presets tell them apart,
    and within one preset the settings that differ, as far as they are not the preset's own.
    """
    return [_label(method, _telling_keys(method, methods)) for method in methods]


def named(cells: Sequence[Cell], several_models: bool) -> tuple[Cell, ...]:
    """Return the cells of a grid with their names: ``1/6 gates l1=5e-3 drift l2=0.1 opt-350m``.

    Lists cut long names at their end, so what differs most comes first, and what is alike in all of
    them is left out: a strength or seed that its method has one of, the only transfer there is, and
    the model, which comes last, unless ``several_models``.
    """
    told = _Told.of(cells, several_models)
    return tuple(
        replace(cell, name=_cell_name(cell, told), ranking_name=_ranking_name(cell, told))
        for cell in cells
    )


@dataclass(frozen=True)
class _Told:
    """What the names of a grid's cells say, of what they could."""

    gate_l1_of: frozenset[Hashable]  # selectors with several strengths, by their labels
    drift_of: frozenset[Hashable]  # transfers with several strengths, by their labels
    seed_of: frozenset[Hashable]  # selectors and transfers with several seeds, by both labels
    order_seed_of: frozenset[Hashable]  # selectors whose order several seeds change
    transfers: bool
    models: bool

    @classmethod
    def of(cls, cells: Sequence[Cell], several_models: bool) -> "_Told":
        """Return what is worth telling of these cells."""
        return cls(
            gate_l1_of=_with_several((cell.selector_label, cell.gate_l1) for cell in cells),
            drift_of=_with_several((cell.transfer_label, cell.drift) for cell in cells),
            seed_of=_with_several((_methods(cell), cell.seed) for cell in cells),
            order_seed_of=_with_several(
                (cell.selector_label, cell.seed) for cell in cells if cell.selector.uses_seed
            ),
            transfers=len({cell.transfer_label for cell in cells}) > 1,
            models=several_models,
        )


def _with_several(pairs: Iterable[tuple[Hashable, Hashable]]) -> frozenset[Hashable]:
    """Return the first parts of these pairs that come with more than one second part."""
    found: dict[Hashable, set[Hashable]] = {}
    for first, second in pairs:
        found.setdefault(first, set()).add(second)
    return frozenset(first for first, seconds in found.items() if len(seconds) > 1)


def _methods(cell: Cell) -> tuple[str, str]:
    return cell.selector_label, cell.transfer_label


def _cell_name(cell: Cell, told: _Told) -> str:
    return _joined(
        as_written(cell.ratio),
        cell.selector_label,
        _strength("l1", cell.gate_l1) if cell.selector_label in told.gate_l1_of else "",
        cell.transfer_label if told.transfers else "",
        _strength("l2", cell.drift) if cell.transfer_label in told.drift_of else "",
        f"seed={cell.seed}" if _methods(cell) in told.seed_of else "",
        cell.model.name if told.models else "",
    )


def _ranking_name(cell: Cell, told: _Told) -> str:
    return _joined(
        cell.selector_label,
        _strength("l1", cell.gate_l1) if cell.selector_label in told.gate_l1_of else "",
        f"seed={cell.seed}" if cell.selector_label in told.order_seed_of else "",
        cell.model.name if told.models else "",
    )


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _strength(name: str, value: float | None) -> str:
    return "" if value is None else f"{name}={shortest(value)}"


def _telling_keys(method: Any, methods: Sequence[Any]) -> list[str]:
    """Return the settings by which a method differs from the others of its name."""
    settings, own = method.model_dump(), _preset_as_it_is(method).model_dump()
    namesakes = [other.model_dump() for other in methods if other.name == method.name]
    keys = []
    if len({other.get("preset") for other in namesakes}) > 1:
        keys.append("preset")
    alike = [other for other in namesakes if other.get("preset") == settings.get("preset")]
    differ = [key for key in settings if any(other[key] != settings[key] for other in alike)]
    return [*keys, *(key for key in differ if settings[key] != own[key])]


def _preset_as_it_is(method: Any) -> Any:
    """Return the preset that a method starts from, with nothing changed."""
    preset = getattr(method, "preset", "default")
    return type(method)() if preset == "default" else type(method)(preset=preset)


def _label(method: Any, keys: Sequence[str]) -> str:
    """Return the method's name, followed by those of its settings in parentheses."""
    shown = [text for key in keys if (text := _setting(key, getattr(method, key)))]
    return f"{method.name}({','.join(shown)})" if shown else str(method.name)


def _setting(name: str, value: Any) -> str:
    """Return ``steps=5``, ``no anneal``, a preset by itself, or ``lora(rank=32)``.

    Of settings within settings only what differs from their defaults is shown. Empty for None and
    the default preset.
    """
    if isinstance(value, bool):
        return name if value else f"no {name}"
    if value is None or (name, value) == ("preset", "default"):
        return ""
    if isinstance(value, Settings):
        changed = value.model_dump(exclude_defaults=True)
        inside = ",".join(f"{key}={each}" for key, each in changed.items())
        return f"{name}({inside})" if inside else name
    return str(value) if name == "preset" else f"{name}={value}"
