"""Names, units and errors of the numbers that pictures show. Pure; draws nothing."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from orchestrator.views.grid_view import CellView
from trsp.records import Spread, lower_is_better

_WORDS = {
    "params": "parameters",
    "bytes": "size of the weights",
    "kv_bytes_per_token": "keys and values per token",
    "latency_ms": "latency of a prompt",
    "generate_latency_ms": "latency of generating",
    "peak_memory_bytes": "peak memory",
}
_COUNTS = ((1e9, "billions"), (1e6, "millions"), (1e3, "thousands"))
_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_BESIDE = 0.006  # of an axis: how far values that are equal stand apart
_MOST_BESIDE = 0.02  # of an axis: how far one may stand from its true place
_LOG_FROM = 8.0  # largest by smallest value from which an axis is logarithmic


class Scale(NamedTuple):
    """How an axis shows a number: ``label`` with its unit; values are divided by ``divisor``."""

    label: str
    divisor: float = 1.0


def scale_of(name: str, values: Iterable[float]) -> Scale:
    """Return how values of a metric are shown, in the unit that fits the largest of them."""
    words = _WORDS.get(name, name)
    if name == "params":
        return _scaled(words, _COUNTS, values)
    if "bytes" in name:
        return _scaled(words, _BYTES, values, "bytes")
    return Scale(f"{words} (ms)" if name.endswith("_ms") else words)


def _scaled(
    words: str, units: tuple[tuple[float, str], ...], values: Iterable[float], whole: str = ""
) -> Scale:
    largest = max(map(abs, values), default=0.0)
    for divisor, unit in units:
        if largest >= divisor:
            return Scale(f"{words} ({unit})", divisor)
    return Scale(f"{words} ({whole})" if whole else words)


def quality_label(metric: str) -> str:
    """Return what an axis says of a score: its name, and which way is better."""
    return f"{metric} ({'lower' if lower_is_better(metric) else 'higher'} is better)"


def needs_log(values: Iterable[float]) -> bool:
    """Whether values lie so far apart that an axis of equal steps would hide most of them."""
    known = list(values)
    return bool(known) and min(known) > 0 and max(known) / min(known) > _LOG_FROM


def side_by_side(values: Sequence[float]) -> list[float]:
    """Return the values, equal ones moved apart by so little that it only keeps marks visible."""
    span = max(values) - min(values) or abs(max(values)) or 1.0
    counts, seen = Counter(values), Counter[float]()
    moved = []
    for value in values:
        steps = seen[value] - (counts[value] - 1) / 2
        seen[value] += 1
        widest = max(1.0, _BESIDE * (counts[value] - 1) / 2 / _MOST_BESIDE)
        moved.append(value + span * _BESIDE * steps / widest)
    return moved


def standard_error(cell: CellView, name: str) -> float:
    """Return a number's standard error; 0 where it has none or it is not known."""
    score = cell.evaluation.scores.get(name) if cell.evaluation else None
    if score is not None:
        return score.stderr or 0.0
    if cell.measurement is None:
        return 0.0
    if name == "latency_ms":
        return _of_repeats(cell.measurement.prompt_spread)
    return _of_repeats(cell.measurement.generate_spread if name == "generate_latency_ms" else None)


def _of_repeats(spread: Spread | None) -> float:
    return spread.stdev_ms / math.sqrt(spread.repeats) if spread else 0.0
