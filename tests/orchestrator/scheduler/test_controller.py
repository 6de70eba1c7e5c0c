"""The controller to the end of a grid: what runs and where, what is shared, what is kept."""

from collections import Counter
from pathlib import Path

from orchestrator.layouts.capacity import Capacity
from orchestrator.stages.stage_specs import StageKind, ranking_spec
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import (
    FakeLauncher,
    controller_of,
    drive,
    failed_stages,
    one_cell,
    resolved,
    store_of,
)
from tests.orchestrator.fresh_view import view_of
from tests.orchestrator.store.sample_stage import files_uri
from trsp.records import RoundRecord

OUT_OF_MEMORY = Failure("OutOfMemoryError", "2 GiB wanted", FailureKind.OUT_OF_MEMORY)
LOST = Failure("WorkerCrashedError", "ended by SIGKILL", FailureKind.LOST)


def test_a_grid_comes_to_its_end_and_shares_what_can_be_shared(tmp_path: Path) -> None:
    launcher, grid = FakeLauncher(), resolved(tmp_path)
    view = drive(controller_of(grid, launcher))
    assert {part.status for part in view.parts} == {Status.DONE}
    assert {ranking.status for ranking in view.rankings} == {Status.DONE}
    # Of 4 cells, both lambda_1 choose the same two layers at ratio 0.2: three checkpoints,
    # and three shapes are measured.
    three = {StageKind.TRANSFER: 3, StageKind.PRUNE: 3, StageKind.EVALUATE: 3, StageKind.MEASURE: 3}
    assert Counter(launcher.started_kinds()) == {StageKind.RANKING: 2, StageKind.DENSE: 1} | three
    assert {
        task.spec.depth for task in launcher.started if task.spec.kind is StageKind.RANKING
    } == {5}
    shared = [cell for cell in view.cells if cell.cell.ratio == 0.2]
    assert shared[0].checkpoint_uri == shared[1].checkpoint_uri
    assert shared[0].ranking_key != shared[1].ranking_key


def test_views_hold_what_the_store_holds(tmp_path: Path) -> None:
    view = drive(controller_of(resolved(tmp_path), FakeLauncher()))
    cell = next(c for c in view.cells if c.cell.ratio == 0.5 and c.cell.gate_l1 == 1e-3)
    assert cell.layers == (8, 7, 6, 5, 4)  # first removed first
    assert cell.metrics()["perplexity/wiki"] == 20
    assert set(cell.stage_keys) == {"rank", "transfer", "prune", "evaluate", "measure"}
    assert cell.transfer is not None
    assert cell.checkpoint_uri is not None
    assert (Path(cell.checkpoint_uri) / "config.json").is_file()
    (ranking,) = (ranking for ranking in view.rankings if ranking.key == cell.ranking_key)
    assert ranking.order == (8, 7, 6, 5, 4)
    assert len(ranking.cells) == 2
    assert view.dense[0].evaluation is not None
    assert view.dense[0].measurement is not None


def test_looking_without_a_driver_gives_the_same(tmp_path: Path) -> None:
    grid = resolved(tmp_path)
    view = drive(controller_of(grid, FakeLauncher()))
    assert view_of(grid) == view


def test_a_second_controller_starts_nothing(tmp_path: Path) -> None:
    drive(controller_of(resolved(tmp_path), FakeLauncher()))
    again = FakeLauncher()
    assert drive(controller_of(resolved(tmp_path), again)).status is Status.DONE
    assert again.started == []


def test_a_larger_ratio_goes_on_with_the_ranking(tmp_path: Path) -> None:
    drive(controller_of(resolved(tmp_path), FakeLauncher()))
    more = FakeLauncher()
    drive(controller_of(resolved(tmp_path, ratios=[0.2, 0.5, 0.7]), more))
    assert Counter(more.started_kinds()) == {
        StageKind.RANKING: 2,
        StageKind.TRANSFER: 2,
        StageKind.PRUNE: 2,
        StageKind.EVALUATE: 2,
        StageKind.MEASURE: 1,
    }


def test_a_deeper_need_of_a_running_ranking_is_met_by_starting_it_again(tmp_path: Path) -> None:
    """Another driver began the ranking for a smaller ratio: its rounds stay, the rest is added."""
    grid = resolved(tmp_path)
    shallow = resolved(tmp_path, ratios=[0.2])
    drive(controller_of(shallow, FakeLauncher()))
    key = ranking_spec(grid.cells[0], grid.study).key
    view = controller_of(grid, FakeLauncher()).view()
    assert {c.status for c in view.cells if c.cell.ratio == 0.2} == {Status.DONE}
    waiting = next(c for c in view.cells if c.ranking_key == key and c.cell.ratio == 0.5)
    assert (waiting.status, waiting.stage, waiting.reason) == (
        Status.WAITING,
        "rank",
        "2 of 5 layers ranked",
    )


def test_a_cell_goes_on_while_the_ranking_for_a_larger_ratio_runs(tmp_path: Path) -> None:
    grid = resolved(tmp_path, gate_l1=1e-3)
    launcher = FakeLauncher(holds=True)
    controller = controller_of(grid, launcher)
    controller.step()
    assert StageKind.RANKING in launcher.started_kinds()
    ranking = next(task for task in launcher.started if task.spec.kind is StageKind.RANKING)
    for number in range(2):  # as the running ranking would
        store_of(grid).rankings.publish(ranking.ticket, RoundRecord(round=number, layer=number))
    view = controller.step()
    assert StageKind.TRANSFER in launcher.started_kinds()
    assert {c.cell.ratio: c.stage for c in view.cells} == {0.2: "transfer", 0.5: "rank"}
    assert {c.status for c in view.cells} == {Status.RUNNING}


def test_no_more_at_once_than_the_grid_allows(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=4, holds=True)
    controller_of(resolved(tmp_path, resources={"max_parallel": 2}), launcher).step()
    assert len(launcher.started) == 2


def test_weights_of_stage_two_are_dropped_once_the_checkpoint_is_whole(tmp_path: Path) -> None:
    grid = resolved(tmp_path)
    view = drive(controller_of(grid, FakeLauncher()))
    store = store_of(grid)
    for cell in view.cells:
        assert files_uri(store, cell.stage_keys["transfer"]) is None
        assert cell.transfer is not None  # its record stays


def test_weights_of_stage_two_are_kept_where_the_grid_says_so(tmp_path: Path) -> None:
    storage = {"store": str(tmp_path / "store"), "keep_transfer_weights": True}
    grid = resolved(tmp_path, storage=storage)
    view = drive(controller_of(grid, FakeLauncher()))
    assert all(files_uri(store_of(grid), cell.stage_keys["transfer"]) for cell in view.cells)


def test_what_is_asked_of_a_stage_goes_with_it(tmp_path: Path) -> None:
    resources = {
        "cpus_per_rank": 2,
        "hang_timeout_s": 60,
        "snapshot_every_s": 5,
        "snapshot_every_steps": 7,
        "measure_wait_s": 11,
    }
    launcher = FakeLauncher(slots=2)
    drive(controller_of(one_cell(tmp_path, resources=resources), launcher))
    for task in launcher.started:
        assert task.layout.cpus == 2
        assert (task.hang_timeout_s, task.snapshot_every_s, task.snapshot_every_steps) == (60, 5, 7)
        assert task.device_wait_s == 11


def test_a_cell_that_needs_more_than_the_cluster_is_given_up_with_what_it_needs(
    tmp_path: Path,
) -> None:
    launcher = FakeLauncher(slots=2)
    view = drive(controller_of(one_cell(tmp_path, resources={"ranks": 4}), launcher))
    assert ("rank", "needs 4 x (1 CPU); the whole cluster has 2 CPUs") in failed_stages(view)


def test_a_gang_waits_for_nodes_that_were_lost(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=4, fail=[(StageKind.RANKING, LOST)])
    controller = controller_of(one_cell(tmp_path, resources={"ranks": 4}), launcher)
    controller.step()
    launcher.cluster = Capacity(2)
    for _ in range(5):
        view = controller.step()
    assert view.cells[0].status is Status.WAITING
    assert "waits for nodes to come back" in view.cells[0].reason
    launcher.cluster = Capacity(4)
    assert drive(controller).status is Status.DONE


def test_what_runs_out_of_the_ordinary_says_so(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=1, fail=[(StageKind.TRANSFER, OUT_OF_MEMORY)])
    controller = controller_of(
        one_cell(tmp_path, transfer={"name": "drift", "blocks_per_step": 4}), launcher
    )
    while len(launcher.tasks(StageKind.TRANSFER)) < 2:
        view = controller.step()
    assert view.cells[0].reason == (
        "again after OutOfMemoryError: 2 GiB wanted; "
        "1 rank of 1 CPU, ZeRO 2, micro-batch 1, activation checkpointing"
    )
