"""How people write values: one item for a list, ``1/4``, ``25%``, ``1e-4``, ``110M``, ``250MB``.

Functions that read these, and the annotated types of fields that take them. Knows nothing of grids.
"""

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    NonNegativeFloat,
    PlainSerializer,
    PlainValidator,
    PositiveInt,
)

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
# In place of a ratio: for each budget the fewest layers that must go to meet it (docs/budgets.md).
AUTO: Final = "auto"
SHORT_COUNT_UNITS = ("", "k", "m", "b")
SHORT_BYTE_UNITS = ("b", "kb", "mb", "gb")


def as_tuple(value: Any) -> Any:
    """Return a list as a tuple, a single item as a tuple of one, and None as an empty tuple."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def check_filled(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the values; ValueError when there are none: such an axis would make no cell."""
    if not values:
        raise ValueError("is empty; give at least one value, or leave the key out for its default")
    return values


def read_number(value: Any) -> Any:
    """Return ``'1/4'``, ``'25%'`` and ``'1e-4'`` as floats, and what is not text as it came.

    ValueError for a truth value and for text that is no number.
    """
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


class WrittenNumber(float):
    """A number that remembers how people wrote it, to be shown to them: ``1/6``, ``10%``.

    It computes, compares and is hashed as the number that it is.
    """

    written: str

    def __new__(cls, value: float, written: str = "") -> Self:
        """Make the number; ``written`` defaults to its six significant digits."""
        number = super().__new__(cls, value)
        number.written = written or f"{value:g}"
        return number


def as_written(value: float) -> str:
    """Return a number as people wrote it, where that is remembered; else six digits of it."""
    return value.written if isinstance(value, WrittenNumber) else f"{value:g}"


def shortest(value: float) -> str:
    """Return the shortest way to write a number: ``0.1``, ``0.02``, but ``5e-3`` and ``1e-4``.

    It has as many digits as tell the number from its neighbours.
    """
    decimal = f"{value:g}" if float(f"{value:g}") == value else repr(float(value))
    digits, _, exponent = f"{value:e}".partition("e")
    power = f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"
    return power if len(power) < len(decimal) and float(power) == value else decimal


def _dump_writing(value: float | str) -> float | str:
    """Return what is read again as this number, and as the way in which it was written."""
    return value.written if isinstance(value, WrittenNumber) else value


def read_ratio(value: Any) -> float | Literal["auto"]:
    """Return a share of the layers, with how it was written where that was text, or ``auto``.

    ValueError unless it is more than nothing and less than all.
    """
    if value == AUTO:
        return AUTO
    share = read_number(value)
    if not isinstance(share, int | float):
        raise ValueError(f"{value!r} is not a ratio; write 0.25, 1/4, 25% or auto")
    if not 0 < share < 1:
        raise ValueError(
            f"ratio {share:g} is outside (0, 1); "
            "it is the share of layers to remove, such as 0.25 or 25%"
        )
    if isinstance(value, str):
        return WrittenNumber(share, "".join(value.split()))
    return share if isinstance(share, WrittenNumber) else float(share)


def _read_quantity(value: Any, units: dict[str, int], example: str) -> int:
    """Return a number, or text of a number and one of the units, rounded to a whole number."""
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


def read_count(value: Any) -> int:
    """Return ``'110M'``, ``'1.5B'`` or a number as a whole number; ValueError for anything else."""
    return _read_quantity(value, _COUNT_UNITS, "110M or 1.5B")


def read_bytes(value: Any) -> int:
    """Return ``'250MB'`` (10^6), ``'250MiB'`` (2^20) or a number as bytes; ValueError otherwise."""
    return _read_quantity(value, _BYTE_UNITS, "250MB or 2GiB")


def short_count(value: float, units: tuple[str, ...] = SHORT_COUNT_UNITS) -> str:
    """Return the shortest exact way to write a number: ``110000000`` as ``110m``, 123456 in full.

    ``units``: the names of the powers of 1000. A decimal point becomes ``_``.
    """
    step = 0
    while step + 1 < len(units) and value and value % 1000 == 0:
        value, step = value // 1000, step + 1
    return f"{value:.10g}{units[step]}".replace(".", "_")


Ratio = Annotated[
    float | Literal["auto"],
    PlainValidator(read_ratio, json_schema_input_type=float | str),
    PlainSerializer(_dump_writing, when_used="json"),
]
Strength = Annotated[
    NonNegativeFloat, BeforeValidator(read_number, json_schema_input_type=float | str)
]
Count = Annotated[
    PositiveInt, BeforeValidator(read_count, json_schema_input_type=int | float | str)
]
Bytes = Annotated[
    PositiveInt, BeforeValidator(read_bytes, json_schema_input_type=int | float | str)
]
