"""The stages of a grid that are left to do, counted and summed up.

Nobody knows before which strengths of one selector will choose the same layers, and so share all
that follows: what is expected lies halfway between all of them and none.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.costs.bands import MAY_ERR, Band
from orchestrator.costs.cost import GridCost, KindCost
from orchestrator.costs.disk import NO_BYTES, Disk, Keeping
from orchestrator.costs.machine import Machine
from orchestrator.costs.stage_costs import StageCosts
from orchestrator.grid.keys import canonical_json
from orchestrator.scheduler.simulation.begun import Begun
from orchestrator.scheduler.simulation.cluster import SimulatedCluster
from orchestrator.scheduler.simulation.grid import SimulatedGrid
from orchestrator.scheduler.simulation.simulate import Rules, Simulation
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import SCHEDULED, StageKind, StageSpec

_HOUR_S = 3600.0
_MOST_SIMULATED = 150  # stages: more take a second and longer
# What the scheduler takes over the least time there can be, in the median of simulated grids in
# which there is enough to do for all GPUs (docs/design.md, benchmarks/makespan.py).
_OVER_LEAST = 1.08


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

    def __init__(
        self, grid: SimulatedGrid, costs: StageCosts, keeping: Keeping, machine: Machine
    ) -> None:
        self._grid, self._costs, self._keeping, self._machine = grid, costs, keeping, machine
        self.tallies: dict[StageKind, _Tally] = {kind: _Tally() for kind in SCHEDULED}
        left = grid.left()
        for key, spec in grid.stages().items():
            self._add(spec)
            if key in left:
                self._add_left(spec)

    def _add(self, spec: StageSpec) -> None:
        """Add a stage of the grid, whether it is done or not."""
        tally, costs = self.tallies[spec.kind], self._costs
        tally.stages += 1
        tally.all_s += sum(costs.true(spec, costs.layouts(spec)[0]))
        gpu_bytes, host_bytes = costs.memory(spec)
        tally.host_bytes = max(tally.host_bytes, host_bytes)
        if gpu_bytes is not None:
            tally.gpu_bytes = max(tally.gpu_bytes or 0, gpu_bytes)
        knowledge = costs.knowledge(spec)
        if MAY_ERR[knowledge] >= tally.may_err:
            tally.may_err, tally.rests_on = MAY_ERR[knowledge], knowledge.value

    def _add_left(self, spec: StageSpec) -> None:
        """Add a stage that is to be done."""
        tally, layout = self.tallies[spec.kind], self._costs.layouts(spec)[0]
        left_s = sum(self._grid.true_seconds(spec, layout))
        devices = layout.ranks * (layout.gpus or layout.cpus)
        tally.left += 1
        if layout.gpus:
            tally.gpu_s += left_s * devices
        else:
            tally.core_s += left_s * devices
        tally.disk += self._keeping.disk(spec, self._costs.shape_of(spec), layout, left_s)
        tally.at_once = max(tally.at_once, int(self._machine.devices / devices))

    @property
    def stages_left(self) -> int:
        return sum(each.left for each in self.tallies.values())

    @property
    def work_s(self) -> float:
        """The seconds that all of the machine's devices take for it if none of them ever waits."""
        tallies = self.tallies.values()
        on_gpus = self._machine.gpus > 0
        work_s = sum(each.gpu_s if on_gpus else each.core_s for each in tallies)
        return work_s / self._machine.devices

    @property
    def passing_bytes(self) -> int:
        """The most that is in the store for a while: of as many stages as run at once."""
        tallies = self.tallies.values()
        return max(min(each.left, each.at_once) * each.disk.passing for each in tallies)


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
    most_grid = SimulatedGrid(resolved, costs, begun)
    least_grid = SimulatedGrid(resolved, costs, begun, alike=_but_for_strength)
    most = _Counted(most_grid, costs, keeping, machine)
    least = _Counted(least_grid, costs, keeping, machine)
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
        rented=machine.devices,
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


def _makespan_s(grid: SimulatedGrid, machine: Machine, most: _Counted) -> float:
    """Return the seconds in which the scheduler brings the grid to its end on the machine."""
    if not most.stages_left:
        return 0.0
    limited = machine.capacity.limit is not None  # to a share, which simulated nodes know not
    if limited or most.stages_left > _MOST_SIMULATED:
        return _OVER_LEAST * max(most.work_s, grid.critical_path_s())
    rules = Rules(measure_alone=not machine.gpus)
    cluster = SimulatedCluster(machine.capacity.machines)
    return Simulation(grid, cluster, rules).run().makespan_s


def _around(makespan_s: float, cost: GridCost, most: _Counted) -> Band:
    """Return the band of a time that was found for the most work there may be."""
    hours = sum(each.gpu_s + each.core_s for each in most.tallies.values()) / _HOUR_S
    if not hours:
        return Band()
    return (cost.gpu_hours + cost.core_hours) * (makespan_s / hours)
