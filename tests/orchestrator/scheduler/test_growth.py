"""What is asked of a cluster that can grow: no more than could start, and nothing for nobody."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.growth import REPEAT_S, NodeDemand, wanted_layouts
from orchestrator.scheduler.policy import Facts, Running, Start, Wait, decide
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import (
    Clock,
    FakeLauncher,
    controller_of,
    drive,
    one_cell,
    resolved,
)

HEAD = Capacity(4)
GPU_NODE = Capacity(96, 8)
ONE_GPU, GANG = Layout(gpus=1), Layout(ranks=16, gpus=1)


def grown(nodes: int) -> Capacity:
    return Capacity.of([HEAD, *[GPU_NODE] * nodes])


def test_what_runs_and_what_waits_is_wanted_together() -> None:
    assert wanted_layouts([ONE_GPU], [(GANG,)], grown(4)) == (ONE_GPU, GANG)


def test_no_more_is_wanted_than_the_cluster_can_become() -> None:
    assert wanted_layouts([], [(ONE_GPU,)] * 99, grown(1)) == (ONE_GPU,) * 8


def test_a_gang_is_wanted_whole_or_not_at_all_and_the_next_one_in_its_place() -> None:
    assert wanted_layouts([], [(GANG,), (ONE_GPU,)], grown(1)) == (ONE_GPU,)


def test_where_the_best_type_of_gpu_is_all_taken_another_that_can_come_is_wanted() -> None:
    """Others hold the A10Gs for good: the stage waited for them, and no H100 ever came."""
    best, other = Layout(gpus=1, gpu_type="A10G"), Layout(gpus=1, gpu_type="H100")
    taken = Capacity(96, 0, gpu_type="A10G")
    potential = Capacity.of([HEAD, taken, replace(GPU_NODE, gpu_type="H100")])
    assert wanted_layouts([], [(best, other)] * 9, potential) == (other,) * 8


def test_no_more_stages_are_wanted_than_may_run_at_once() -> None:
    assert wanted_layouts([ONE_GPU], [(ONE_GPU,)] * 9, grown(4), max_parallel=3) == (ONE_GPU,) * 3


@pytest.mark.parametrize("waiting", [[], [(GANG,)]])
def test_nothing_is_wanted_where_no_waiting_stage_could_start(
    waiting: list[tuple[Layout, ...]],
) -> None:
    """What runs keeps its nodes by running."""
    assert wanted_layouts([ONE_GPU] * 8, waiting, grown(2)) == ()


def test_five_thousand_equal_stages_are_as_quick_as_one() -> None:
    """They are placed together: single ranks of one layout are one look at each node."""
    wanted = wanted_layouts([], [(ONE_GPU,)] * 5000, grown(200))
    assert len(wanted) == 1600


SPEC = StageSpec(StageKind.TRANSFER, {})


def test_only_those_that_wait_for_room_would_take_more_of_it() -> None:
    measuring = Facts([SPEC], running={"measure-1": Running(StageKind.MEASURE)})
    elsewhere = Facts([SPEC], claimed_elsewhere={SPEC.key: "another driver"})
    assert decide(measuring, max_attempts=1) == (
        Wait(SPEC, "a measurement has the machine for itself", for_room=()),
    )
    assert decide(elsewhere, max_attempts=1) == (
        Wait(SPEC, "another driver works on it", for_room=()),
    )


def test_the_launcher_is_told_of_changes_only() -> None:
    launcher = FakeLauncher()
    launcher.can_become = grown(1)
    demand = NodeDemand(launcher, Resources())
    demand.look()
    for _ in range(3):
        demand.follow(Facts([SPEC]), [Wait(SPEC, "waits for 1 GPU", for_room=(ONE_GPU,))])
    demand.follow(Facts([SPEC]), [Start(SPEC, ONE_GPU)])
    demand.follow(Facts([], running={SPEC.key: Running(SPEC.kind, ONE_GPU)}), [])
    assert launcher.requests == [(ONE_GPU,), ()]


def test_a_node_is_wanted_until_the_stage_that_it_came_for_has_begun() -> None:
    """Else it looks idle, and may go away at the moment at which the stage is placed there."""
    launcher = FakeLauncher()
    launcher.can_become = grown(1)
    demand = NodeDemand(launcher, Resources())
    demand.look()
    demand.follow(Facts([SPEC]), [Wait(SPEC, "waits for 1 GPU", for_room=(ONE_GPU,))])
    demand.follow(Facts([SPEC]), [Start(SPEC, ONE_GPU)])
    for begun in (False, True):
        running = {SPEC.key: Running(SPEC.kind, ONE_GPU, begun=begun)}
        assert launcher.requests == [(ONE_GPU,)]
        demand.follow(Facts([], running=running), [])
    assert launcher.requests == [(ONE_GPU,), ()]


def test_the_launcher_is_told_again_when_a_stage_begins_for_others_see_it_by_then() -> None:
    launcher = FakeLauncher()
    launcher.can_become = grown(1)
    demand = NodeDemand(launcher, Resources())
    demand.look()
    wait = Wait(SPEC, "waits for 1 GPU", for_room=(ONE_GPU,))
    for begun in (False, True):
        facts = Facts([SPEC], running={"other": Running(SPEC.kind, ONE_GPU, begun=begun)})
        demand.follow(facts, [wait])
    assert launcher.requests == [(ONE_GPU, ONE_GPU)] * 2


def test_what_is_wanted_for_long_is_asked_for_again_and_so_is_to_let_go() -> None:
    """Nodes were held to the driver's end where Ray gave no answer once, as they were let go."""
    launcher, clock = FakeLauncher(), Clock()
    launcher.can_become = grown(1)
    demand = NodeDemand(launcher, Resources(), clock)
    demand.look()
    demand.follow(Facts([SPEC]), [Wait(SPEC, "waits for 1 GPU", for_room=(ONE_GPU,))])
    clock.now = REPEAT_S
    demand.look()
    demand.look()
    demand.follow(Facts([]), [])
    clock.now = 3 * REPEAT_S
    demand.look()
    assert launcher.requests == [(ONE_GPU,), (ONE_GPU,), (), ()]


# --- through the controller ---------------------------------------------------


def growing(now: Capacity, nodes: int) -> FakeLauncher:
    launcher = FakeLauncher(holds=True)
    launcher.measures_alone = False
    launcher.cluster, launcher.can_become = now, grown(nodes)
    return launcher


def test_a_grid_on_a_cluster_without_gpus_waits_for_them_and_asks(tmp_path: Path) -> None:
    """Without nodes that can come it would fail: there are 0 GPUs."""
    launcher = growing(HEAD, 4)
    grid = one_cell(tmp_path, resources={"use_gpus": True})
    view = controller_of(grid, launcher).step()
    assert (view.cells[0].status, launcher.started) == (Status.WAITING, [])
    assert "waits for nodes that can come" in view.cells[0].reason
    (asked,) = launcher.requests
    assert {layout.gpus for layout in asked} == {1}


@pytest.mark.parametrize("limit", [{}, {"max_parallel": 4}])
def test_it_runs_to_its_end_once_they_have_come(tmp_path: Path, limit: dict[str, int]) -> None:
    launcher = growing(HEAD, 4)
    controller = controller_of(resolved(tmp_path, resources={"use_gpus": True, **limit}), launcher)
    controller.step()
    launcher.cluster, launcher.holds = grown(1), False
    assert drive(controller).status is Status.DONE
    assert launcher.requests[-1] == (), "nothing wants nodes any more"


def test_where_gpus_are_left_to_the_cluster_those_to_come_count(tmp_path: Path) -> None:
    launcher = growing(HEAD, 4)
    controller_of(one_cell(tmp_path), launcher).step()
    assert launcher.started == [], "on the head's CPUs"


def test_a_gang_larger_than_the_nodes_there_waits_for_the_rest(tmp_path: Path) -> None:
    """8 of 32 GPUs are up at the first look."""
    launcher = growing(grown(1), 4)
    resources = {"use_gpus": True, "ranks": 16}
    controller = controller_of(one_cell(tmp_path, resources=resources), launcher)
    view = controller.step()
    assert view.cells[0].status is Status.WAITING
    assert "16 x (1 GPU, 1 CPU" in view.cells[0].reason
    assert GANG.ranks in {layout.ranks for layout in launcher.requests[-1]}
    launcher.cluster, launcher.holds = grown(2), False
    assert drive(controller).status is Status.DONE


def test_what_can_never_fit_fails_with_what_it_needs_and_the_largest(tmp_path: Path) -> None:
    launcher = growing(HEAD, 4)
    view = drive(controller_of(one_cell(tmp_path, resources={"cpus_per_rank": 97}), launcher))
    assert view.cells[0].status is Status.FAILED
    assert view.cells[0].reason == (
        "needs 1 GPU, 97 CPUs; the largest that the cluster can become has "
        "32 GPUs, 388 CPUs on 5 nodes"
    )
    assert launcher.requests == []
