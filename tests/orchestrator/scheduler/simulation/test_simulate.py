"""Whole grids by the real ``decide`` on simulated clusters, with real stages and layouts."""

from collections import Counter
from collections.abc import Sequence
from functools import cache

import pytest

from benchmarks.makespan import growing, least_time_s
from benchmarks.mixed_grid import NODE, MixedCosts, mixed_grid
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.simulation.cluster import NodeChange, SimulatedCluster
from orchestrator.scheduler.simulation.grid import SimulatedGrid
from orchestrator.scheduler.simulation.simulate import Bar, Faults, Outcome, Rules, Simulation
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind, StageSpec

CELLS = 50


@cache
def grid_for(gpus: int) -> Resolved:
    return mixed_grid(CELLS, gpus)


def simulated(gpus: int, rules: Rules, spread: float = 0.3, nodes: int = 0) -> Outcome:
    """The grid on a cluster of so many GPUs, of whose nodes so many are there at first."""
    resolved, there = grid_for(gpus), [NODE] * (gpus // 8)
    costs = MixedCosts(resolved, Capacity.of(there), spread)
    cluster = SimulatedCluster(there[: nodes or None])
    return Simulation(SimulatedGrid(resolved, costs), cluster, rules).run()


def bound_s(gpus: int) -> float:
    resolved = grid_for(gpus)
    costs = MixedCosts(resolved, Capacity.of([NODE] * (gpus // 8)), 0.0)
    grid = SimulatedGrid(resolved, costs)
    return max(grid.critical_path_s(), sum(map(costs.gpu_s, grid.stages().values())) / gpus)


def expected_bars(gpus: int) -> Counter[StageKind]:
    """How many stages of each kind the grid has; a failed attempt is a bar more."""
    resolved = grid_for(gpus)
    costs = MixedCosts(resolved, Capacity.of([NODE] * (gpus // 8)), 0.0)
    return Counter(spec.kind for spec in SimulatedGrid(resolved, costs).stages().values())


def whole(bars: Sequence[Bar]) -> Counter[StageKind]:
    return Counter(bar.kind for bar in bars if bar.whole)


@pytest.mark.parametrize("gpus", [8, 16])
def test_every_stage_is_computed_once_and_no_grid_is_faster_than_its_bound(gpus: int) -> None:
    outcome = simulated(gpus, Rules())
    assert whole(outcome.bars) == expected_bars(gpus)
    assert outcome.makespan_s >= bound_s(gpus)


def test_what_is_known_of_seconds_makes_a_grid_faster() -> None:
    """On eight GPUs, 25 % over the bound becomes 7 %."""
    least_s = bound_s(8)
    assert simulated(8, Rules()).makespan_s < 1.1 * least_s
    assert simulated(8, Rules(informed=False)).makespan_s > 1.2 * least_s


def test_at_no_time_do_stages_take_more_of_the_cluster_than_there_is() -> None:
    bars = simulated(16, Rules()).bars
    for moment in [bar.begin_s for bar in bars]:
        now = [bar for bar in bars if bar.begin_s <= moment < bar.end_s]
        assert sum(bar.layout.ranks * bar.layout.gpus for bar in now) <= 16


def test_the_same_grid_goes_the_same_way_each_time() -> None:
    rules = Rules(faults=Faults(0.1))
    assert simulated(8, rules) == simulated(8, rules)


@pytest.mark.parametrize("seed", range(3))
def test_every_stage_starts_in_the_end_however_wrong_expectations_are(seed: int) -> None:
    """They are wrong by a factor of ten, and a fifth of all attempts fails."""
    outcome = simulated(16, Rules(faults=Faults(0.2, seed)), spread=2.3)
    assert whole(outcome.bars) == expected_bars(16)
    failed = len(outcome.bars) - whole(outcome.bars).total()
    assert 0.1 < failed / len(outcome.bars) < 0.35


def test_a_training_of_one_rank_and_what_follows_it_lie_in_one_place() -> None:
    bars = simulated(8, Rules()).bars
    trained = [bar for bar in bars if bar.kind is StageKind.TRANSFER and bar.layout.ranks == 1]
    after = {(bar.begin_s, bar.nodes, bar.layout) for bar in bars if bar.kind is StageKind.PRUNE}
    assert trained
    assert {(bar.end_s, bar.nodes, bar.layout) for bar in trained} <= after


def test_a_stage_whose_node_went_is_computed_on_another() -> None:
    changes = [NodeChange(3000.0, 1), NodeChange(9000.0, 1, NODE)]
    outcome = simulated(16, Rules(changes=changes, potential=Capacity.of([NODE] * 2)))
    assert any(not bar.whole and bar.end_s == 3000.0 and 1 in bar.nodes for bar in outcome.bars)
    assert whole(outcome.bars) == expected_bars(16)
    gone = [bar for bar in outcome.bars if bar.begin_s < 9000.0 and bar.end_s > 3000.0]
    assert all(bar.nodes == (0,) for bar in gone)


def test_nodes_that_come_are_used() -> None:
    come = [NodeChange(1000.0, 1, NODE)]
    rules = Rules(changes=come, potential=Capacity.of([NODE] * 2))
    outcome = simulated(16, rules, nodes=1)
    assert whole(outcome.bars) == expected_bars(16)
    assert {node for bar in outcome.bars for node in bar.nodes} == {0, 1}


def test_the_least_time_of_work_counts_the_gpus_that_are_there_when() -> None:
    """8 GPUs for 10 s, 16 for 10 s, and 8 again."""
    changes = [NodeChange(10.0, 1, NODE), NodeChange(20.0, 1)]
    assert least_time_s(40.0, 1, changes) == 5.0
    assert least_time_s(160.0, 1, changes) == 15.0
    assert least_time_s(320.0, 1, changes) == 30.0


def test_a_cluster_that_grows_begins_with_half_of_its_nodes() -> None:
    first, changes = growing([NODE] * 4, bound_s=100.0)
    assert len(first) == 2
    assert [(change.at_s, change.node) for change in changes] == [
        (10, 2),
        (10, 3),
        (50, 3),
        (60, 3),
    ]


# --- measurements on CPUs ------------------------------------------------------


class OnCpus:
    """Every stage takes one CPU for ten seconds; so does each round of a ranking."""

    def layouts(self, spec: StageSpec) -> tuple[Layout, ...]:
        return (Layout(),)

    def true(self, spec: StageSpec, layout: Layout) -> Sequence[float]:
        return [10.0] * max(1, spec.depth)

    expected = true


def on_cpus(nodes: int) -> tuple[Bar, ...]:
    cluster = SimulatedCluster([Capacity(2)] * nodes)
    rules = Rules(measure_alone=True)
    return tuple(Simulation(SimulatedGrid(grid_for(8), OnCpus()), cluster, rules).run().bars)


def at_once(bar: Bar, bars: Sequence[Bar]) -> list[Bar]:
    return [
        each
        for each in bars
        if each is not bar and each.begin_s < bar.end_s and bar.begin_s < each.end_s
    ]


def test_a_measurement_has_its_node_for_itself_and_the_others_go_on() -> None:
    bars = on_cpus(nodes=20)
    measured = [bar for bar in bars if bar.kind is StageKind.MEASURE]
    assert len(measured) == expected_bars(8)[StageKind.MEASURE]
    beside = [each for bar in measured for each in at_once(bar, bars)]
    assert all(
        set(bar.nodes).isdisjoint(each.nodes) for bar in measured for each in at_once(bar, bars)
    )
    assert any(each.kind is not StageKind.MEASURE for each in beside)


def test_on_one_machine_nothing_runs_beside_a_measurement() -> None:
    bars = on_cpus(nodes=1)
    measured = [bar for bar in bars if bar.kind is StageKind.MEASURE]
    assert len(measured) == expected_bars(8)[StageKind.MEASURE]
    assert not any(at_once(bar, bars) for bar in measured)
