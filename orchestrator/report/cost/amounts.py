"""Bytes, seconds and other amounts as text for people, to two digits. Knows numbers alone."""

from collections.abc import Callable

from orchestrator.costs.bands import Band

_BYTES = ("B", "kB", "MB", "GB", "TB", "PB")
_MINUTE_S, _HOUR_S, _DAY_S = 60.0, 3600.0, 86400.0


def bytes_text(number: float) -> str:
    """Return bytes for people, in decimal units: ``940 B``, ``3.1 GB``, ``4.5 TB``."""
    size, unit = float(number), 0
    while size >= 999.5 and unit < len(_BYTES) - 1:
        size, unit = size / 1000, unit + 1
    return f"{two_digits(size)} {_BYTES[unit]}"


def duration_text(seconds: float) -> str:
    """Return a time for people: ``0.8 s``, ``27 s``, ``15 min``, ``3.2 h``, ``5.1 days``."""
    if seconds < 2 * _MINUTE_S:
        return f"{two_digits(seconds)} s"
    if seconds < 2 * _HOUR_S:
        return f"{two_digits(seconds / _MINUTE_S)} min"
    if seconds < 2 * _DAY_S:
        return f"{two_digits(seconds / _HOUR_S)} h"
    return f"{two_digits(seconds / _DAY_S)} days"


def two_digits(number: float) -> str:
    """Return a number to two digits, and no digit before the point less: ``0.12``, ``27``, ``415``.

    Thousands are parted: ``1,230``.
    """
    if abs(number) >= 10:
        return f"{number:,.0f}"
    return f"{float(f'{number:.2g}'):g}"


def band_text(band: Band, text: Callable[[float], str] = two_digits, unit: str = "") -> str:
    """Return what is expected and the band around it; alone where there is none.

    ``0.47 (0.22 to 1)``; with a unit, ``0.47 core-hours (0.22 to 1)``.
    """
    low, likely, high = map(text, (band.low, band.likely, band.high))
    words = f"{likely} {unit}".strip()
    return words if low == high else f"{words} ({low} to {high})"
