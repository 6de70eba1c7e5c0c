"""Short names of methods for people: what tells a selector or transfer from the grid's others."""

from collections.abc import Sequence
from typing import Any

from trsp.config import (
    Settings,
)


def method_name(settings: Any) -> str:
    """``gates``, or ``gates(paper)``, or ``gates(placement=output)``: the name and what differs from the defaults."""
    given, base = settings.model_dump(), _base(settings).model_dump()
    return _label(settings, [key for key in given if key == "preset" or given[key] != base[key]])


def method_labels(methods: Sequence[Any]) -> list[str]:
    """What tells these methods apart and no more: the name, and where several share it the presets or settings that differ."""
    labels = []
    for method in methods:
        given = method.model_dump()
        namesakes = [other.model_dump() for other in methods if other.name == method.name]
        presets = ["preset"] if len({other.get("preset") for other in namesakes}) > 1 else []
        alike = [other for other in namesakes if other.get("preset") == given.get("preset")]
        labels.append(
            _label(
                method,
                [
                    *presets,
                    *(key for key in given if any(other[key] != given[key] for other in alike)),
                ],
            )
        )
    return labels


def _base(method: Any) -> Any:
    """The method's preset, as it is."""
    preset = getattr(method, "preset", "default")
    return type(method)(preset=preset) if preset != "default" else type(method)()


def _label(method: Any, keys: Sequence[str]) -> str:
    inside = ",".join(shown for key in keys if (shown := _setting(key, getattr(method, key))))
    return f"{method.name}({inside})" if inside else str(method.name)


def _setting(name: str, value: Any) -> str:
    """``steps=5``; a preset by itself; of settings within settings what differs from their defaults: ``lora(rank=32)``."""
    if value is None or (name, value) == ("preset", "default"):
        return ""
    if isinstance(value, Settings):
        inside = ",".join(
            f"{key}={each}" for key, each in value.model_dump(exclude_defaults=True).items()
        )
        return f"{name}({inside})" if inside else name
    return str(value) if name == "preset" else f"{name}={value}"
