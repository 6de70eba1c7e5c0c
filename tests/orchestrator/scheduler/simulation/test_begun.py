"""Simulated grids of which a part is done already."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.simulation.begun import Begun, whole_order
from orchestrator.scheduler.simulation.cluster import SimulatedCluster
from orchestrator.scheduler.simulation.grid import SimulatedGrid
from orchestrator.scheduler.simulation.simulate import Rules, Simulation
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind, StageSpec
from tests.orchestrator.fake_launcher import one_cell, resolved


class TenSeconds:
    """Every stage takes one CPU for ten seconds; so does each round of a ranking."""

    def layouts(self, spec: StageSpec) -> tuple[Layout, ...]:
        return (Layout(),)

    def true(self, spec: StageSpec, layout: Layout) -> Sequence[float]:
        return [10.0] * max(1, spec.depth)

    expected = true


def simulated(grid: Resolved, begun: Begun) -> SimulatedGrid:
    return SimulatedGrid(grid, TenSeconds(), begun)


def makespan_s(grid: Resolved, begun: Begun) -> float:
    """How long it takes on one CPU, where nothing waits for a driver's step."""
    one = SimulatedCluster([Capacity(1)])
    return Simulation(simulated(grid, begun), one, Rules(step_s=0.0)).run().makespan_s


def keys(grid: Resolved, kind: StageKind, begun: Begun = Begun()) -> list[str]:  # noqa: B008
    stages = simulated(grid, begun).stages()
    return [key for key, spec in stages.items() if spec.kind is kind]


def kinds(stages: dict[str, StageSpec]) -> list[StageKind]:
    return sorted(spec.kind for spec in stages.values())


def test_an_order_begins_with_what_is_published_and_has_every_layer_once() -> None:
    order = whole_order((7, 2), "name", 10)
    assert order[:2] == [7, 2]
    assert sorted(order) == list(range(10))


def test_orders_of_one_name_are_the_same() -> None:
    assert whole_order((), "name", 10) == whole_order((), "name", 10)
    assert whole_order((), "name", 10) != whole_order((), "another", 10)


def test_published_rounds_take_no_time(tmp_path: Path) -> None:
    grid = one_cell(tmp_path)
    (ranking,) = keys(grid, StageKind.RANKING)
    whole_s = makespan_s(grid, Begun())
    assert makespan_s(grid, Begun(orders={ranking: (8,)})) == whole_s - 10
    assert makespan_s(grid, Begun(orders={ranking: (8, 7, 6)})) == whole_s - 20, "two are needed"


def test_cells_remove_what_is_published(tmp_path: Path) -> None:
    grid = one_cell(tmp_path)
    (ranking,) = keys(grid, StageKind.RANKING)
    stages = simulated(grid, Begun(orders={ranking: (8, 7)})).stages().values()
    (prune,) = [spec for spec in stages if spec.kind is StageKind.PRUNE]
    assert prune.inputs["layers"] == [7, 8]


def test_stages_that_are_done_take_no_time_and_are_not_left(tmp_path: Path) -> None:
    grid = one_cell(tmp_path)
    done = frozenset(keys(grid, StageKind.DENSE))
    begun = Begun(done)
    assert makespan_s(grid, begun) == makespan_s(grid, Begun()) - 10
    assert kinds(simulated(grid, begun).left()) == sorted(
        kind for kind in kinds(simulated(grid, begun).stages()) if kind is not StageKind.DENSE
    )


def test_a_training_whose_checkpoint_is_there_is_not_left(tmp_path: Path) -> None:
    grid = one_cell(tmp_path)
    left = simulated(grid, Begun(frozenset(keys(grid, StageKind.PRUNE)))).left()
    assert StageKind.TRANSFER not in kinds(left)
    assert StageKind.EVALUATE in kinds(left)


def test_rankings_alike_choose_the_same_layers(tmp_path: Path) -> None:
    grid = resolved(tmp_path, ratios=[0.2], gate_l1=[1e-3, 1e-2])
    apart = SimulatedGrid(grid, TenSeconds()).stages()
    alike = SimulatedGrid(grid, TenSeconds(), alike=lambda ranking: "one name").stages()
    assert kinds(apart).count(StageKind.PRUNE) == 2
    assert kinds(alike).count(StageKind.PRUNE) == 1
    assert kinds(alike).count(StageKind.RANKING) == 2


def test_nothing_is_left_of_a_grid_that_is_done(tmp_path: Path) -> None:
    grid = one_cell(tmp_path)
    (ranking,) = keys(grid, StageKind.RANKING)
    begun = Begun(orders={ranking: (8, 7)})
    done = frozenset(simulated(grid, begun).stages())
    finished = simulated(grid, Begun(done, begun.orders))
    assert not finished.left()
    assert not finished.needs
    assert finished.critical_path_s() == 0
