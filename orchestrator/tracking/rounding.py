"""Numbers as people read them. Pure."""

import math

DIGITS = 4


def rounded(value: float) -> float:
    """Four significant digits, and never fewer than all digits before the point: 27.5634 -> 27.56, 1234.5 -> 1234."""
    if not math.isfinite(value) or value == int(value):
        return value
    magnitude = math.floor(math.log10(abs(value)))
    return round(value, max(0, DIGITS - 1 - magnitude))
