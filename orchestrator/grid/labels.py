"""Short names of methods for people: what tells a selector or transfer from the grid's others."""

from collections.abc import Sequence
from typing import Any

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
    and within one preset the settings that differ.
    """
    return [_label(method, _telling_keys(method, methods)) for method in methods]


def _telling_keys(method: Any, methods: Sequence[Any]) -> list[str]:
    """Return the settings by which a method differs from the others of its name."""
    settings = method.model_dump()
    namesakes = [other.model_dump() for other in methods if other.name == method.name]
    keys = []
    if len({other.get("preset") for other in namesakes}) > 1:
        keys.append("preset")
    alike = [other for other in namesakes if other.get("preset") == settings.get("preset")]
    keys += [key for key in settings if any(other[key] != settings[key] for other in alike)]
    return keys


def _preset_as_it_is(method: Any) -> Any:
    """Return the preset that a method starts from, with nothing changed."""
    preset = getattr(method, "preset", "default")
    return type(method)() if preset == "default" else type(method)(preset=preset)


def _label(method: Any, keys: Sequence[str]) -> str:
    """Return the method's name, followed by those of its settings in parentheses."""
    shown = [text for key in keys if (text := _setting(key, getattr(method, key)))]
    return f"{method.name}({','.join(shown)})" if shown else str(method.name)


def _setting(name: str, value: Any) -> str:
    """Return ``steps=5``, a preset by itself, or ``lora(rank=32)`` for settings within settings.

    Of those only what differs from their defaults is shown. Empty for None and the default preset.
    """
    if value is None or (name, value) == ("preset", "default"):
        return ""
    if isinstance(value, Settings):
        changed = value.model_dump(exclude_defaults=True)
        inside = ",".join(f"{key}={each}" for key, each in changed.items())
        return f"{name}({inside})" if inside else name
    return str(value) if name == "preset" else f"{name}={value}"
