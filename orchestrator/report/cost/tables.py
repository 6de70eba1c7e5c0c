"""What a grid costs as text for people: a table of its kinds of stages, and lines of totals."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from orchestrator.costs.cost import GridCost, KindCost
from orchestrator.report.cost.amounts import band_text, bytes_text, duration_text
from orchestrator.report.printing import print_line


def print_cost(cost: GridCost, out: Console) -> None:
    """Print what is left to do of a grid, and what that costs."""
    if cost.cells:
        out.print(_table(cost))
    for line in _lines(cost):
        print_line(out, line)


def cost_line(cost: GridCost) -> str:
    """Return all of it in one line; of a grid that is done or not known, that.

    ``about 0.47 core-hours (0.22 to 1), 15 min on 2 cores; 3.1 GB (2.9 GB to 3.4 GB) in the store``
    """
    if not cost.cells:
        return "not known, for the size of no model is"
    if not cost.left:
        return "nothing, the store holds all of it"
    hours = _hours_text(cost)
    time = "" if cost.makespan_s is None else f", {duration_text(cost.makespan_s.likely)}"
    kept = f"{band_text(cost.kept_bytes, bytes_text)} in the store"
    return f"about {hours}{time} on {cost.machine}; {kept}"


def _table(cost: GridCost) -> Table:
    table = Table("stage", "left", "each", f"{cost.device}-hours", "memory", "store")
    for kind in cost.kinds:
        table.add_row(*_row(kind, cost.device))
    return table


def _row(kind: KindCost, device: str) -> tuple[str, ...]:
    left = str(kind.left) if kind.left == kind.stages else f"{kind.left} of {kind.stages}"
    on_gpus = device == "GPU"
    hours = kind.gpu_hours if on_gpus else kind.core_hours
    memory_bytes = kind.host_bytes if kind.gpu_bytes is None else kind.gpu_bytes
    where = " host" if on_gpus and kind.gpu_bytes is None else ""
    return (
        kind.kind,
        left,
        duration_text(kind.each_s),
        band_text(hours) if hours.high else "-",
        f"{bytes_text(memory_bytes)}{where}",
        bytes_text(kind.kept_bytes.likely),
    )


def _lines(cost: GridCost) -> Iterator[str]:
    if cost.cells < cost.of_cells:
        yield f"cost: of {cost.cells} of {cost.of_cells} cells"
    if cost.left:
        yield from _totals(cost)
    elif cost.cells:
        yield f"left to do: {cost_line(cost)}"
    for note in cost.notes:
        yield f"note: {note}"


def _totals(cost: GridCost) -> Iterator[str]:
    yield f"hours: {_hours_text(cost)}{_rests_on(cost)}"
    if cost.makespan_s is not None:
        yield f"time: {band_text(cost.makespan_s, duration_text)} on {cost.machine}"
    yield f"store: {_store_text(cost)}"
    if cost.money is not None:
        yield f"money: {_money_text(cost)}"


def _hours_text(cost: GridCost) -> str:
    return band_text(cost.device_hours, unit=f"{cost.device}-hours")


def _rests_on(cost: GridCost) -> str:
    kinds = [each for each in cost.kinds if each.left]
    unknown = [each.kind for each in kinds if each.rests_on == "nothing"]
    if len(unknown) == len(kinds):
        return ", before anything was measured"
    if unknown:
        return f", by what this store has measured, but nothing of {', '.join(unknown)}"
    return ", by what this store has measured"


def _store_text(cost: GridCost) -> str:
    kept = f"{band_text(cost.kept_bytes, bytes_text)} kept"
    more = cost.written_bytes.likely > 1.01 * cost.kept_bytes.likely
    written = f", {bytes_text(cost.written_bytes.likely)} written" if more else ""
    passing = (
        f", up to {bytes_text(cost.passing_bytes)} more meanwhile" if cost.passing_bytes else ""
    )
    return f"{kept}{written}{passing}"


def _money_text(cost: GridCost) -> str:
    assert cost.money is not None
    text = f"{band_text(cost.money)} at {cost.price:g} per {cost.device}-hour"
    if cost.rent is None:
        return text
    return f"{text}; {band_text(cost.rent)} for {cost.machine} as long as it takes"
