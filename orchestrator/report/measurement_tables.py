"""``trsp measure`` as text for people: latencies, how far they spread, and what is in doubt.

Decides nothing; knows measurements alone.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestrator.report.printing import format_number, print_line
from orchestrator.views.measurements import Measurement
from trsp.records import MeasurementRecord, Spread


def print_measurements(measurements: Sequence[Measurement], out: Console) -> None:
    """Print a line per shape, and what speaks against each latency that is in doubt."""
    table = Table("model", "layers", "cells", "latency ms", "generation ms", "hardware", "")
    for each in measurements:
        table.add_row(escape(each.model), str(each.layers), str(len(each.cells)), *_figures(each))
    out.print(table)
    for each in measurements:
        if each.record is not None and each.record.doubt:
            print_line(out, f"{each.model} with {each.layers} layers: {each.record.doubt}")
    if any(each.record is not None and not each.is_sound for each in measurements):
        print_line(out, "--again --noisy measures anew what is in doubt")


def _figures(measurement: Measurement) -> list[str]:
    record = measurement.record
    if record is None:
        return ["-", "-", "-", "not measured"]
    return [
        _latency(record.prompt_latency_ms, record.prompt_spread),
        _latency(record.generate_latency_ms, record.generate_spread),
        escape(record.hardware),
        _verdict(record),
    ]


def _latency(mean_ms: float, spread: Spread | None) -> str:
    """Return the mean and the standard deviation of a repeat, where it is known."""
    mean = format_number(mean_ms)
    return mean if spread is None else f"{mean} +- {format_number(spread.stdev_ms)}"


def _verdict(record: MeasurementRecord) -> str:
    if record.noise is None:
        return "in doubt"
    return "noisy" if record.noise else "quiet"
