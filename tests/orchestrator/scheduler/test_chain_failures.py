"""The controller when a stage, a process or a driver goes, of stages that share a process."""

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.coordination.heartbeat import Heartbeat
from orchestrator.coordination.stage_log import StageLog
from orchestrator.execution.launcher import Finished
from orchestrator.layouts.capacity import Capacity
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.claims import Ticket
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_chains import FakeChains, of_cells, until_begun
from tests.orchestrator.fake_launcher import (
    MAX_STEPS,
    FakeLauncher,
    controller_of,
    drive,
    failed_stages,
    finish,
    one_cell,
    record_of,
    resolved,
    store_of,
)
from tests.orchestrator.scheduler.test_other_drivers import forget_process, open_claims

TRANSFER, PRUNE = StageKind.TRANSFER, StageKind.PRUNE
EVALUATE, MEASURE = StageKind.EVALUATE, StageKind.MEASURE
BUG = Failure("KeyError", "'layers'", FailureKind.UNKNOWN)
OUT_OF_MEMORY = Failure("OutOfMemoryError", "2 GiB wanted", FailureKind.OUT_OF_MEMORY)
LOST = Failure("WorkerCrashedError", "ended by SIGKILL", FailureKind.LOST)


def test_a_member_that_fails_is_tried_again_alone_and_those_behind_it_after_it(
    tmp_path: Path,
) -> None:
    launcher = FakeChains(fail=[(PRUNE, BUG)])
    grid = one_cell(tmp_path)
    view = drive(controller_of(grid, launcher))
    assert view.status is Status.DONE
    assert of_cells(launcher)[:3] == [[TRANSFER, PRUNE, EVALUATE], [PRUNE], [EVALUATE]]
    assert open_claims(store_of(grid)) == []


def test_stages_that_were_not_reached_have_not_failed(tmp_path: Path) -> None:
    launcher = FakeChains(fail=[(PRUNE, BUG)])
    grid = one_cell(tmp_path, resources={"max_attempts": 1})
    controller = controller_of(grid, launcher)
    view = drive(controller)
    (cell,) = view.cells
    assert (cell.stage, cell.reason) == (PRUNE, "KeyError: 'layers'")
    assert store_of(grid).failures.history(launcher.chains and cell.stage_keys[EVALUATE]) == ()
    assert cell.stage_keys[EVALUATE] not in controller._state.attempts


def test_a_lost_head_heads_a_chain_again_where_it_goes_on_from_a_snapshot(tmp_path: Path) -> None:
    launcher = FakeChains(fail=[(TRANSFER, LOST)])
    launcher.gains = {TRANSFER}
    drive(controller_of(one_cell(tmp_path), launcher))
    assert of_cells(launcher)[:2] == [[TRANSFER, PRUNE, EVALUATE]] * 2


def test_a_head_that_failed_of_itself_is_tried_again_alone(tmp_path: Path) -> None:
    launcher = FakeChains(fail=[(TRANSFER, BUG)])
    drive(controller_of(one_cell(tmp_path), launcher))
    assert of_cells(launcher)[:3] == [[TRANSFER, PRUNE, EVALUATE], [TRANSFER], [PRUNE, EVALUATE]]


def test_a_process_that_goes_between_two_stages_loses_nothing(tmp_path: Path) -> None:
    launcher = FakeChains()
    launcher.stops_after = {TRANSFER}
    grid = one_cell(tmp_path)
    view = drive(controller_of(grid, launcher))
    assert view.status is Status.DONE
    assert of_cells(launcher)[:2] == [[TRANSFER, PRUNE, EVALUATE], [PRUNE, EVALUATE]]
    assert set(Counter(launcher.started_keys()).values()) == {1}


def test_a_stage_that_another_driver_has_claimed_ends_the_chain_before_it(tmp_path: Path) -> None:
    grid = one_cell(tmp_path)
    keys = drive(controller_of(one_cell(tmp_path / "other"), FakeLauncher())).cells[0].stage_keys
    assert isinstance(store_of(grid).claims.take(keys[EVALUATE], "another"), Ticket)
    launcher = FakeChains()
    controller = controller_of(grid, launcher)
    until_begun(controller, launcher, PRUNE)
    assert of_cells(launcher) == [[TRANSFER, PRUNE]]


def test_a_killed_drivers_chain_goes_on_where_it_was(tmp_path: Path) -> None:
    grid, killed = one_cell(tmp_path), FakeChains()
    controller = controller_of(grid, killed)
    until_begun(controller, killed, PRUNE)
    claims = open_claims(store_of(grid))
    assert {"prune", "evaluate"} <= {path.parent.parent.parent.name for path in claims}
    del controller
    for path in claims:
        forget_process(path)
    heir = FakeChains()
    assert drive(controller_of(grid, heir)).status is Status.DONE
    assert of_cells(heir)[0] == [PRUNE, EVALUATE]
    assert heir.tasks(TRANSFER) == []
    assert open_claims(store_of(grid)) == []


def test_a_stopped_driver_gives_all_claims_of_a_chain_back(tmp_path: Path) -> None:
    grid, launcher = one_cell(tmp_path), FakeChains()
    controller = controller_of(grid, launcher)
    until_begun(controller, launcher, TRANSFER)
    controller.stop("stopped by SIGTERM")
    assert open_claims(store_of(grid)) == []


def test_a_member_that_another_driver_took_over_is_cancelled_and_counts_as_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, launcher = one_cell(tmp_path), FakeChains()
    controller = controller_of(grid, launcher)
    until_begun(controller, launcher, TRANSFER)
    store, waiting = store_of(grid), launcher.waiting(EVALUATE)
    for path in open_claims(store):
        if path.parent.parent.name == waiting.spec.key:
            forget_process(path)
    taken = store.claims.take(waiting.spec.key, "another")
    assert isinstance(taken, Ticket)
    monkeypatch.setattr(Heartbeat, "gaps", lambda self: 1)
    controller.step()
    assert launcher.cancelled == [waiting.spec.key]
    monkeypatch.undo()
    launcher.holds, launcher.stops_after = False, {PRUNE}
    for _ in range(5):
        controller.step()
    assert launcher.tasks(EVALUATE) == [], "it is the other one's"
    assert store.failures.history(waiting.spec.key) == ()
    store.claims.release(taken)
    assert drive(controller).status is Status.DONE


def test_what_was_committed_before_its_process_went_without_a_word_is_done(tmp_path: Path) -> None:
    grid, launcher = one_cell(tmp_path), FakeChains()
    launcher.stops_after = {TRANSFER}
    controller = controller_of(grid, launcher)
    until_begun(controller, launcher, TRANSFER)
    finish(launcher.waiting(PRUNE))
    launcher.holds = False
    assert drive(controller).status is Status.DONE
    assert launcher.tasks(PRUNE) == []


def test_two_drivers_whose_processes_have_several_stages_do_nothing_twice(tmp_path: Path) -> None:
    launchers = [FakeChains(slots=1, measures_alone=False) for _ in range(2)]
    drivers = [controller_of(resolved(tmp_path), launcher) for launcher in launchers]
    for _ in range(MAX_STEPS):
        views = [driver.step() for driver in drivers]
        if all(view.status is Status.DONE for view in views):
            break
    assert [view.status for view in views] == [Status.DONE] * 2
    done = Counter(key for launcher in launchers for key in launcher.started_keys())
    assert set(done.values()) == {1}
    assert all(of_cells(launcher) for launcher in launchers), "and both take part"


def test_a_head_without_memory_climbs_its_own_ladder_to_its_end(tmp_path: Path) -> None:
    """Not that of the wider room that its process had: with that it would begin anew for ever."""
    grid = one_cell(tmp_path, transfer="none", drift=None, resources={"max_attempts": 2})
    launcher = FakeChains(fail=[(PRUNE, OUT_OF_MEMORY)] * 100, measures_alone=False)
    launcher.cluster = Capacity(cpus=8, gpus=2, gpu_memory_bytes=80 * 10**9)
    view = drive(controller_of(grid, launcher))
    assert failed_stages(view) == [("prune", "OutOfMemoryError: 2 GiB wanted")]
    assert launcher.tasks(PRUNE)[0].layout.gpus == 1, "that of the evaluation"
    assert len(launcher.tasks(PRUNE)) < 8


def test_a_chains_commits_are_found_where_its_process_went_before_it_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One entry commits stage two and the checkpoint: whoever takes that up settles both."""
    grid, launcher = one_cell(tmp_path), FakeChains()
    controller = controller_of(grid, launcher)
    until_begun(controller, launcher, TRANSFER)
    (head,), prune = launcher.tasks(TRANSFER), launcher.waiting(PRUNE)
    stages = store_of(grid).stages
    with stages.staging(prune.ticket) as folder:
        (folder / "config.json").write_text("{}", encoding="utf-8")
        made = stages.prepare(prune.ticket, prune.spec, record_of(prune), folder)
    trained = stages.prepare(head.ticket, head.spec, record_of(head))
    with monkeypatch.context() as patch:
        patch.setattr(StageLog, "settle", lambda *_: None)
        stages.commit_prepared(trained, made)
    assert not stages.done(prune.spec.key)
    lost = (Finished(head.spec.key, None, reached=False), Finished(prune.spec.key, LOST))
    with monkeypatch.context() as patch:
        patch.setattr(launcher, "poll", lambda wait_s: lost)
        controller.step()
    assert stages.done(prune.spec.key)
    assert store_of(grid).failures.history(prune.spec.key) == ()
    assert controller._state.attempts == {}
