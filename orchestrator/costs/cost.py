"""What a grid costs: of each kind of stage the number, time, memory and bytes, and all together.

Nobody knows before which strengths of one selector will choose the same layers, and so share all
that follows: what is expected lies halfway between all of them and none.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from orchestrator.costs.bands import MAY_ERR, Band
from orchestrator.costs.disk import NO_BYTES, Disk, Keeping
from orchestrator.costs.machine import Machine
from orchestrator.costs.stage_costs import StageCosts
from orchestrator.grid.keys import canonical_json
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.simulation.begun import Begun
from orchestrator.scheduler.simulation.cluster import SimulatedCluster
from orchestrator.scheduler.simulation.grid import SimulatedGrid
from orchestrator.scheduler.simulation.simulate import Rules, Simulation
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import SCHEDULED, StageKind, StageSpec

_HOUR_S = 3600.0
_MOST_SIMULATED = 150  # stages: more take a second and longer
# What the scheduler takes over the least time there can be, in the median of grids of 50 to 5,000
# cells on 8 to 512 GPUs (benchmarks/makespan.py).
_OVER_LEAST = 1.07


@dataclass(frozen=True)
class KindCost:
    """What is left to do of one kind of stage.

    ``stages``: of the whole grid, at most; ``left``: of them, those not done. ``each_s``: the mean
    seconds of one. ``gpu_bytes`` and ``host_bytes``: the peak of a rank, on each of its GPUs (None
    where it has none) and on its host. ``rests_on``: what the seconds do.
    """

    kind: str
    stages: int
    left: int
    each_s: float
    gpu_hours: Band
    core_hours: Band
    gpu_bytes: int | None
    host_bytes: int
    written_bytes: Band
    kept_bytes: Band
    rests_on: str


@dataclass(frozen=True)
class GridCost:
    """What is left to do of a grid, and what it costs on a machine.

    ``makespan_s``: None where not all stages fit on the machine. ``passing_bytes``: what the store
    holds at most besides what is kept. ``price``: of one hour of a GPU, or of a core without any;
    None where nobody has given one. ``cells``: those that are counted, of ``of_cells``.
    """

    machine: str
    device: str
    kinds: tuple[KindCost, ...]
    makespan_s: Band | None
    passing_bytes: int
    cells: int
    of_cells: int
    price: float | None = None
    rented: float = 0.0  # devices, for as long as the grid takes
    notes: tuple[str, ...] = ()

    @property
    def gpu_hours(self) -> Band:
        return sum((each.gpu_hours for each in self.kinds), Band())

    @property
    def core_hours(self) -> Band:
        """The hours of CPU cores, without those of processes that have a GPU."""
        return sum((each.core_hours for each in self.kinds), Band())

    @property
    def device_hours(self) -> Band:
        return self.gpu_hours if self.device == "GPU" else self.core_hours

    @property
    def written_bytes(self) -> Band:
        return sum((each.written_bytes for each in self.kinds), Band())

    @property
    def kept_bytes(self) -> Band:
        return sum((each.kept_bytes for each in self.kinds), Band())

    @property
    def money(self) -> Band | None:
        """The price of the hours in which stages have their devices; None without a price."""
        return None if self.price is None else self.device_hours * self.price

    @property
    def rent(self) -> Band | None:
        """The price of all devices for as long as the grid takes; None where it is not known."""
        if self.price is None or self.makespan_s is None:
            return None
        return self.makespan_s * (self.rented * self.price / _HOUR_S)

    @property
    def left(self) -> int:
        """How many stages are left to do."""
        return sum(each.left for each in self.kinds)

    def as_dict(self) -> dict[str, Any]:
        """Return the cost and all its sums as values that JSON can say."""
        sums = ("gpu_hours", "core_hours", "written_bytes", "kept_bytes", "money", "rent")
        bands: dict[str, Band | None] = {name: getattr(self, name) for name in sums}
        return {**asdict(self), **{name: band and asdict(band) for name, band in bands.items()}}


@dataclass
class _Tally:
    """The sums of stages of one kind; of the largest the memory."""

    stages: int = 0
    left: int = 0
    all_s: float = 0.0
    gpu_s: float = 0.0
    core_s: float = 0.0
    gpu_bytes: int | None = None
    host_bytes: int = 0
    disk: Disk = NO_BYTES
    at_once: int = 1
    may_err: float = 1.0
    rests_on: str = ""


class _Counted:
    """One way in which a grid may go: its stages, and what each kind of them sums up to."""

    def __init__(self, grid: SimulatedGrid, costs: StageCosts, keeping: Keeping, devices: int):
        self._grid, self._costs, self._keeping, self._devices = grid, costs, keeping, devices
        left = grid.left()
        self.tallies = {kind: _Tally() for kind in SCHEDULED}
        for key, spec in grid.stages().items():
            self._add(spec, left=key in left)

    def _add(self, spec: StageSpec, *, left: bool) -> None:
        tally, costs = self.tallies[spec.kind], self._costs
        layout, shape = costs.layouts(spec)[0], costs.shape_of(spec)
        rounds = costs.true(spec, layout)
        tally.stages += 1
        tally.all_s += sum(rounds)
        memory = costs.peak(spec)
        tally.host_bytes = max(tally.host_bytes, memory.host.total)
        if memory.gpu:
            tally.gpu_bytes = max(tally.gpu_bytes or 0, memory.gpu.total)
        knowledge = costs.knowledge(spec)
        if MAY_ERR[knowledge] >= tally.may_err:
            tally.may_err, tally.rests_on = MAY_ERR[knowledge], knowledge.value
        if not left:
            return
        left_s = sum(self._grid.true_seconds(spec, layout))
        tally.left += 1
        if layout.gpus:
            tally.gpu_s += left_s * layout.ranks * layout.gpus
        else:
            tally.core_s += left_s * layout.ranks * layout.cpus
        tally.disk += self._keeping.disk(spec, shape, layout, left_s)
        tally.at_once = max(tally.at_once, int(self._devices / _devices(layout)))

    @property
    def device_s(self) -> float:
        return sum(each.gpu_s or each.core_s for each in self.tallies.values())

    @property
    def passing_bytes(self) -> int:
        """The most that is in the store for a while: of as many stages as run at once."""
        tallies = self.tallies.values()
        return max(min(each.left, each.at_once) * each.disk.passing for each in tallies)


def _devices(layout: Layout) -> float:
    return layout.ranks * (layout.gpus or layout.cpus)


def grid_cost(
    resolved: Resolved,
    machine: Machine,
    costs: StageCosts,
    keeping: Keeping,
    begun: Begun,
    price: float | None = None,
) -> GridCost:
    """Return what is left to do of a grid of which so much is done, and what that costs.

    All models of the grid have shapes, and ``costs`` are of this grid on this machine.
    """
    devices = machine.gpus or machine.capacity.cpus
    most_grid = SimulatedGrid(resolved, costs, begun)
    least_grid = SimulatedGrid(resolved, costs, begun, alike=_but_for_strength)
    most = _Counted(most_grid, costs, keeping, devices)
    least = _Counted(least_grid, costs, keeping, devices)
    kinds = tuple(_kind_cost(kind, least, most) for kind in SCHEDULED)
    cost = GridCost(
        machine=machine.text,
        device=machine.device,
        kinds=tuple(each for each in kinds if each.stages),
        makespan_s=None,
        passing_bytes=most.passing_bytes,
        cells=len(resolved.cells),
        of_cells=len(resolved.cells),
        price=price if price is not None else machine.resources.price_per_hour,
        rented=devices,
        notes=tuple(f"does not fit on {machine.text}: {each}" for each in costs.misfits),
    )
    if costs.misfits:
        return cost
    makespan_s = _makespan_s(most_grid, machine, most)
    return replace(cost, makespan_s=_around(makespan_s, cost, most))


def _but_for_strength(ranking: StageSpec) -> str:
    """Return a name that rankings share which differ in lambda_1 only."""
    return canonical_json({**ranking.inputs, "gate_l1": None})


def _kind_cost(kind: StageKind, least: _Counted, most: _Counted) -> KindCost:
    low, high = least.tallies[kind], most.tallies[kind]
    err = high.may_err

    def band(of: Callable[[_Tally], float], may_err: float = 1.0) -> Band:
        return Band.between(of(low), of(high), may_err)

    return KindCost(
        kind=kind.value,
        stages=high.stages,
        left=high.left,
        each_s=high.all_s / max(1, high.stages),
        gpu_hours=band(lambda tally: tally.gpu_s / _HOUR_S, err),
        core_hours=band(lambda tally: tally.core_s / _HOUR_S, err),
        gpu_bytes=high.gpu_bytes,
        host_bytes=high.host_bytes,
        written_bytes=band(lambda tally: tally.disk.written),
        kept_bytes=band(lambda tally: tally.disk.kept),
        rests_on=high.rests_on,
    )


def _makespan_s(grid: SimulatedGrid, machine: Machine, counted: _Counted) -> float:
    """Return the seconds in which the scheduler brings the grid to its end on the machine."""
    if not grid.needs:
        return 0.0
    if sum(tally.left for tally in counted.tallies.values()) > _MOST_SIMULATED:
        work_s = counted.device_s / (machine.gpus or machine.capacity.cpus)
        return _OVER_LEAST * max(work_s, grid.critical_path_s())
    rules = Rules(measure_alone=not machine.gpus)
    cluster = SimulatedCluster(machine.capacity.machines)
    return Simulation(grid, cluster, rules).run().makespan_s


def _around(makespan_s: float, cost: GridCost, most: _Counted) -> Band:
    """Return the band of a time that was found for the most work there may be."""
    hours = sum(each.gpu_s + each.core_s for each in most.tallies.values()) / _HOUR_S
    if not hours:
        return Band()
    return (cost.gpu_hours + cost.core_hours) * (makespan_s / hours)
