"""A cluster that others use, and a share of it: what starts, what waits and what it says."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.run import require_capacity
from orchestrator.scheduler.placement.waiting import describe_others, not_placed
from orchestrator.scheduler.policy import Facts, GiveUp, Running, Start, Wait, decide
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator.fake_launcher import (
    FakeLauncher,
    controller_of,
    drive,
    one_cell,
    resolved,
)
from trsp.errors import InvalidInputError

GB = 10**9
NODE = Capacity(cpus=8, gpus=8)
BUSY = replace(
    Capacity.of([replace(NODE, gpus=1)] + [replace(NODE, gpus=0)] * 7),
    whole=Capacity.of([NODE] * 8),
)
GANG = Layout(ranks=8, gpus=1)
TRAIN = StageSpec(StageKind.TRANSFER, {})
MEASURE = StageSpec(StageKind.MEASURE, {})


def beside_others(free: int, cpus: int) -> Capacity:
    """A cluster of so many CPUs, of which others have left so many free."""
    return replace(Capacity(free), whole=Capacity(cpus))


def ranking_status(view: GridView) -> list[tuple[Status, str]]:
    return [(ranking.status, ranking.reason) for ranking in view.rankings]


def test_a_gang_that_others_keep_out_is_not_submitted_and_says_so() -> None:
    facts = Facts([TRAIN], {TRAIN.key: GANG}, capacity=BUSY, largest_capacity=BUSY.in_all)
    reason = "waits for 8 x (1 GPU, 1 CPU); other jobs hold 63 of 64 GPUs"
    assert decide(facts, max_attempts=2) == (Wait(TRAIN, reason, (GANG,)),)


def test_the_gang_starts_when_others_have_gone() -> None:
    facts = Facts([TRAIN], {TRAIN.key: GANG}, capacity=BUSY.in_all)
    assert decide(facts, max_attempts=2) == (Start(TRAIN, GANG),)


def test_what_never_fits_is_given_up_whatever_others_hold() -> None:
    layout = Layout(ranks=65, gpus=1)
    facts = Facts([TRAIN], {TRAIN.key: layout}, capacity=BUSY, largest_capacity=BUSY.in_all)
    (decision,) = decide(facts, max_attempts=2)
    assert isinstance(decision, GiveUp)
    assert "the whole cluster has 64 GPUs" in decision.reason


def test_what_others_hold_is_told_of_what_is_needed_most() -> None:
    assert describe_others(BUSY, GANG) == "other jobs hold 63 of 64 GPUs"
    assert describe_others(BUSY, Layout()) == "", "they hold no CPUs"
    assert describe_others(beside_others(1, 4), Layout()) == "other jobs hold 3 of 4 CPUs"
    memory = replace(Capacity(4, 0, 10 * GB), whole=Capacity(4, 0, 64 * GB))
    assert describe_others(memory, Layout(memory_bytes=GB)) == (
        "other jobs hold 54.0 of 64.0 GB of memory"
    )


def test_memory_that_only_rounding_takes_is_not_told_as_that_of_others() -> None:
    memory = replace(Capacity(4, 0, 64 * GB - 10**7), whole=Capacity(4, 0, 64 * GB))
    assert describe_others(memory, Layout(memory_bytes=GB)) == ""


def test_what_a_submitted_stage_waits_for() -> None:
    assert not_placed(GANG, BUSY) == (
        "Ray has not placed it yet: needs 8 x (1 GPU, 1 CPU); other jobs hold 63 of 64 GPUs"
    )
    assert not_placed(Layout(), Capacity(4)) == "is being started: takes 1 CPU"


def test_what_the_cluster_has_not_placed_is_shown_as_waiting(tmp_path: Path) -> None:
    launcher = FakeLauncher(holds=True)
    launcher.queues, launcher.cluster = True, beside_others(2, 8)
    controller = controller_of(one_cell(tmp_path), launcher)
    view = controller.step()
    assert len(launcher.started) == 2
    queued = "Ray has not placed it yet: needs 1 CPU; other jobs hold 6 of 8 CPUs"
    assert ranking_status(view) == [(Status.WAITING, queued)]
    assert (view.cells[0].status, view.cells[0].reason) == (Status.WAITING, queued)
    launcher.queues = False
    assert [status for status, _ in ranking_status(controller.step())] == [Status.RUNNING]


def test_no_more_is_submitted_than_others_leave_free(tmp_path: Path) -> None:
    launcher = FakeLauncher(holds=True)
    launcher.cluster = beside_others(1, 8)
    controller = controller_of(resolved(tmp_path), launcher)
    controller.step()
    assert len(launcher.started) == 1
    launcher.cluster = launcher.cluster.in_all
    controller.step()
    assert len(launcher.started) == 3, "two rankings and the reference"


def test_a_grid_never_takes_more_than_its_share(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=8, holds=True)
    grid = resolved(tmp_path, resources={"share": "25%"})
    controller = controller_of(grid, launcher)
    controller.step()
    assert len(launcher.started) == 2
    launcher.holds = False
    assert drive(controller).status is Status.DONE


def test_a_stage_for_which_the_share_is_too_small_is_given_up_in_words(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=8)
    grid = one_cell(tmp_path, resources={"share": "25%", "cpus_per_rank": 3})
    (cell,) = drive(controller_of(grid, launcher)).cells
    assert cell.status is Status.FAILED
    assert cell.reason == "needs 3 CPUs; the whole cluster has 2 CPUs within resources.share"


def test_no_key_knows_the_share(tmp_path: Path) -> None:
    keys = []
    for resources in ({}, {"share": "25%"}):
        launcher = FakeLauncher()
        grid = resolved(tmp_path / str(len(keys)), resources=resources)
        drive(controller_of(grid, launcher))
        keys.append((grid.key, sorted(launcher.started_keys())))
    assert keys[0] == keys[1]


def test_nodes_that_can_come_are_asked_for_while_others_hold_those_that_are_there(
    tmp_path: Path,
) -> None:
    launcher = FakeLauncher(holds=True)
    launcher.cluster = beside_others(0, 1)
    launcher.can_become = replace(Capacity(4), whole=Capacity(5))
    controller = controller_of(one_cell(tmp_path), launcher)
    view = controller.step()
    assert ranking_status(view) == [(Status.WAITING, "waits for 1 CPU; other jobs hold 1 of 1 CPU")]
    assert [len(layouts) for layouts in launcher.requests] == [2], "the ranking and the reference"


def test_a_share_is_of_what_the_cluster_can_become(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=2, holds=True)
    launcher.can_become = Capacity(8)
    controller = controller_of(resolved(tmp_path, resources={"share": "25%"}), launcher)
    controller.step()
    assert len(launcher.started) == 2, "all that is there, and a quarter of what can be"


def test_a_share_in_which_no_stage_fits_is_refused_before_anything_starts(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=8)
    resources = Resources.model_validate({"share": "10%"})
    with pytest.raises(
        InvalidInputError, match=r"0 CPUs within resources\.share; raise resources\.s"
    ):
        require_capacity(launcher, resources, tmp_path / "grid.yaml")


def test_a_cluster_that_others_hold_whole_is_no_reason_to_refuse(tmp_path: Path) -> None:
    launcher = FakeLauncher()
    launcher.cluster = beside_others(0, 8)
    require_capacity(launcher, Resources(), tmp_path / "grid.yaml")
    assert not launcher.stopped


def test_behind_a_gang_that_ray_has_not_placed_no_other_of_its_size_is_submitted() -> None:
    """Of those that fit no longer, one at most is in Ray's queue."""
    running = {"transfer-1": Running(StageKind.TRANSFER, GANG, begun=False)}
    layouts = {TRAIN.key: GANG}
    facts = Facts([TRAIN], layouts, running=running, capacity=BUSY, largest_capacity=BUSY.in_all)
    (decision,) = decide(facts, max_attempts=2)
    assert isinstance(decision, Wait)
