"""How people write numbers: ``1/4``, ``25%``, ``1e-4``, ``110M``, ``250MB``. Pure; knows nothing of grids."""

import re
from typing import Any

_COUNT_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_BYTE_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_QUANTITY = re.compile(r"\s*([0-9][0-9_]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*")


def listed(value: Any) -> Any:
    """A list of one item may be written as the item; nothing at all is an empty list."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def not_empty(value: tuple[Any, ...]) -> tuple[Any, ...]:
    """An axis without values would silently make no cell at all."""
    if not value:
        raise ValueError("is empty; give at least one value, or leave the key out for its default")
    return value


def number(value: Any) -> Any:
    """``'1/4'``, ``'25%'`` and ``'1e-4'`` as floats; anything that is not text is returned as it came."""
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a number; write 0.25, 1/4, 25% or 1e-4")
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        if text.endswith("%"):
            return float(text[:-1]) / 100
        top, slash, bottom = text.partition("/")
        return float(top) / float(bottom) if slash else float(top)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{value!r} is not a number; write 0.25, 1/4, 25% or 1e-4") from None


def ratio(value: float) -> float:
    """A share of the layers: more than nothing and less than all."""
    if not 0 < value < 1:
        raise ValueError(
            f"ratio {value:g} is outside (0, 1); it is the share of layers to remove, such as 0.25 or 25%"
        )
    return value


def _quantity(value: Any, units: dict[str, int], example: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a quantity; write {example}")
    if isinstance(value, int | float):
        return round(value)
    match = _QUANTITY.fullmatch(value)
    unit = units.get(match[2].lower()) if match else None
    if match is None or unit is None:
        known = ", ".join(sorted((name.upper() for name in units if name), key=len))
        raise ValueError(f"{value!r} is not a quantity; write {example} (units: {known})")
    return round(float(match[1].replace("_", "")) * unit)


def count(value: Any) -> int:
    """``'110M'``, ``'1.5B'`` or a number, as a whole number."""
    return _quantity(value, _COUNT_UNITS, "110M or 1.5B")


def size_bytes(value: Any) -> int:
    """``'250MB'`` (10^6), ``'250MiB'`` (2^20) or a number of bytes."""
    return _quantity(value, _BYTE_UNITS, "250MB or 2GiB")


def short_count(value: float, units: tuple[str, ...] = ("", "k", "m", "b")) -> str:
    """The shortest exact way to write a whole number: ``110000000`` -> ``110m``, ``123456`` -> ``123456``."""
    step = 0
    while step + 1 < len(units) and value and value % 1000 == 0:
        value, step = value // 1000, step + 1
    return f"{value:.10g}{units[step]}".replace(".", "_")
