"""How long the scheduler takes over whole grids, against the least that they can take.

    python -m benchmarks.makespan [--cells 50 --cells 1000] [--gpus 8 --gpus 512]
                                  [--figure docs/img/makespan.png]

``decide`` drives grids of 1B to 70B models (benchmarks/mixed_grid.py) on a simulated cluster to
their end. Each figure is the makespan over the larger of

- the critical path: of all cells the longest, its ranking's rounds and each stage after them;
- the work over the GPUs: of all stages, without what failed.

Both are lower bounds, and not always to be had. The columns are

- ``kinds``: the fixed order of kinds of stages, which knows no seconds, and a process per stage;
- ``paths``: the order that the scheduler has now, with expected seconds that are wrong by a factor
  of 1.35 (one standard deviation), and stages handed over within a process where that is allowed;
- ``faults``: the same, and 5 % of all attempts fail at a random moment. Half of the nodes are there
  at first, and the others come after a tenth of the time; where there are four or more, one goes in
  the middle and comes back.

The figure shows all ratios, and the GPUs of one grid over time by what computes on them.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.mixed_grid import AXES, GPUS_PER_NODE, NODE, MixedCosts, mixed_grid
from orchestrator.layouts.capacity import Capacity
from orchestrator.scheduler.simulation.cluster import NodeChange, SimulatedCluster
from orchestrator.scheduler.simulation.grid import SimulatedGrid
from orchestrator.scheduler.simulation.simulate import Faults, Outcome, Rules, Simulation
from orchestrator.stages.stage_specs import StageKind

SPREAD = 0.3
FAILS = 0.05
MANY, LONG_STEP_S = 5000, 60.0  # so many cells are decided on once a minute, to save our time
SHOWN = 200, 32  # cells and GPUs of the grid whose course is drawn
COLUMNS = ("kinds", "paths", "faults")
SLICES = 240  # of time, in the figure
COLORS = {
    StageKind.RANKING: "#4c72b0",
    StageKind.TRANSFER: "#dd8452",
    StageKind.EVALUATE: "#55a868",
    StageKind.DENSE: "#8172b3",
    StageKind.MEASURE: "#c44e52",
    StageKind.PRUNE: "#937860",
}


@dataclass(frozen=True)
class Row:
    """One grid on one cluster, and how often the least of its time it took, by column."""

    cells: int
    gpus: int
    path_s: float
    work_s: float  # over all GPUs
    ratios: Mapping[str, float]


def simulate(cells: int, gpus: int, column: str) -> tuple[Outcome, float, float, float]:
    """Return the outcome, the critical path, work over GPUs, and the bound, in seconds."""
    nodes = [NODE] * (gpus // GPUS_PER_NODE)
    resolved, whole = mixed_grid(cells, gpus), Capacity.of(nodes)
    costs = MixedCosts(resolved, whole, SPREAD)
    grid = SimulatedGrid(resolved, costs)
    path_s, work_gpu_s = grid.critical_path_s(), sum(map(costs.gpu_s, grid.stages().values()))
    bound_s, faults, changes = max(path_s, work_gpu_s / gpus), Faults(), list[NodeChange]()
    there: Sequence[Capacity] = nodes
    if column == "faults":
        there, changes = growing(nodes, bound_s)
        faults, bound_s = Faults(FAILS), max(path_s, least_time_s(work_gpu_s, len(there), changes))
    new = column != "kinds"
    step_s = LONG_STEP_S if cells >= MANY else 1.0
    rules = Rules(new, step_s, new, faults=faults, changes=changes, potential=whole)
    outcome = Simulation(grid, SimulatedCluster(there), rules).run()
    return outcome, path_s, work_gpu_s / gpus, bound_s


def growing(nodes: Sequence[Capacity], bound_s: float) -> tuple[list[Capacity], list[NodeChange]]:
    """Return the nodes that are there at first, and what comes and goes."""
    first = list(nodes[: max(1, len(nodes) // 2)])
    come = [NodeChange(bound_s / 10, n, NODE) for n in range(len(first), len(nodes))]
    if len(nodes) >= 4:
        gone = len(nodes) - 1
        come += [NodeChange(bound_s * 0.5, gone), NodeChange(bound_s * 0.6, gone, NODE)]
    return first, come


def least_time_s(work_gpu_s: float, nodes: int, changes: Sequence[NodeChange]) -> float:
    """Return the seconds in which all GPUs that are there together have done so much."""
    now_s = 0.0
    for change in changes:
        done = (change.at_s - now_s) * nodes * GPUS_PER_NODE
        if done >= work_gpu_s:
            break
        work_gpu_s, now_s = work_gpu_s - done, change.at_s
        nodes += 1 if change.capacity is not None else -1
    return now_s + work_gpu_s / (nodes * GPUS_PER_NODE)


def measure(cells: int, gpus: int) -> Row:
    """Return one row of the table."""
    ratios = {}
    for column in COLUMNS:
        outcome, path_s, work_s, bound_s = simulate(cells, gpus, column)
        ratios[column] = outcome.makespan_s / bound_s
        if column == "paths":
            steady = path_s, work_s
    return Row(cells, gpus, *steady, ratios)


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table, and of the medians."""
    yield "| cells | GPUs | critical path | work / GPUs | kinds | paths | faults |"
    yield "|---:|---:|---:|---:|---:|---:|---:|"
    for row in rows:
        hours = f"{row.path_s / 3600:.1f} h | {row.work_s / 3600:.1f} h"
        yield f"| {row.cells} | {row.gpus} | {hours} | {_shown(row.ratios)} |"
    medians = {name: median(row.ratios[name] for row in rows) for name in COLUMNS}
    yield f"| median | | | | {_shown(medians)} |"


def _shown(ratios: Mapping[str, float]) -> str:
    return " | ".join(f"{ratios[name]:.2f}" for name in COLUMNS)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw all ratios, and the course of one grid in the old order and the new one."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3, width_ratios=[1.2, 1, 1])
    _draw_ratios(axes[0], rows)
    longest_s = 0.0
    for each, column in zip(axes[1:], ("kinds", "paths"), strict=True):
        outcome, *_ = simulate(*SHOWN, column)
        longest_s = max(longest_s, outcome.makespan_s)
        _draw_course(each, outcome, SHOWN[1])
        each.set_xlim(0, longest_s / 3600)
        name = "order of kinds" if column == "kinds" else "expected paths"
        each.set_title(f"{SHOWN[0]} cells, {SHOWN[1]} GPUs, {name}", fontsize=9)
    axes[1].set_ylabel("GPUs that compute")
    axes[2].legend(fontsize=7, loc="lower left")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _draw_ratios(axes: Axes, rows: Sequence[Row]) -> None:
    for number, cells in enumerate(sorted({row.cells for row in rows})):
        found = [row for row in rows if row.cells == cells]
        gpus = [row.gpus for row in found]
        for name, style in (("kinds", ":"), ("paths", "-")):
            label = f"{cells} cells" if name == "paths" else None
            ratios = [row.ratios[name] for row in found]
            axes.plot(gpus, ratios, style, marker=".", color=f"C{number}", label=label)
    axes.set_xscale("log", base=2)
    axes.axhline(1.1, color="grey", linewidth=0.6)
    axes.set_ylim(bottom=1)
    axes.set_xlabel("GPUs")
    axes.set_title("makespan / bound (dotted: order of kinds)", fontsize=9)
    axes.legend(fontsize=7)


def _draw_course(axes: Axes, outcome: Outcome, gpus: int) -> None:
    width_s = outcome.makespan_s / SLICES
    used = {kind: [0.0] * SLICES for kind in COLORS}
    for bar in outcome.bars:
        taken = bar.layout.ranks * bar.layout.gpus
        for slot in range(int(bar.begin_s / width_s), min(SLICES, int(bar.end_s / width_s) + 1)):
            overlap = min(bar.end_s, (slot + 1) * width_s) - max(bar.begin_s, slot * width_s)
            used[bar.kind][slot] += taken * max(0.0, overlap) / width_s
    hours = [slot * width_s / 3600 for slot in range(SLICES)]
    axes.stackplot(hours, *used.values(), labels=list(used), colors=list(COLORS.values()))
    axes.set_ylim(0, gpus)
    axes.set_xlabel("hours")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, action="append", choices=list(AXES))
    parser.add_argument("--gpus", type=int, action="append")
    parser.add_argument("--figure", type=Path)
    asked = parser.parse_args()
    rows = []
    for cells in asked.cells or AXES:
        # Thousands of cells on a few GPUs are weeks of work, and as full as they can be.
        for gpus in asked.gpus or [8, 16, 32, 64, 128, 256, 512]:
            if asked.gpus or cells < MANY or gpus >= 256:
                rows.append(measure(cells, gpus))
                print(f"# {rows[-1]}", flush=True)
    print("\n".join(lines(rows)))
    if asked.figure:
        draw(rows, asked.figure)


if __name__ == "__main__":
    main()
