"""The controller beside other drivers, after one that was killed, and when it is stopped itself."""

import gc
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.coordination.heartbeat import Heartbeat
from orchestrator.coordination.process import ProcessIdentity
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.claims import Claims, Held, Ticket
from orchestrator.store.store import Store
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import (
    Clock,
    FakeLauncher,
    controller_of,
    drive,
    finish,
    one_cell,
    resolved,
    result_files,
    store_of,
)
from tests.orchestrator.store.sample_stage import holder


def open_claims(store: Store) -> list[Path]:
    """The claims that stand: the last entry of each log that is one."""
    logs = Path(store.uri).glob("stages/*/*/claims")
    last = (max(log.iterdir()) for log in logs)
    return [path for path in last if json.loads(path.read_text())["kind"] == "claim"]


def forget_process(path: Path) -> None:
    """Make a claim one of a process of this machine that is gone."""
    entry = json.loads(path.read_text())
    entry["process"]["start"] = "1"
    path.write_text(json.dumps(entry))


def wait_until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_drivers_at_once_do_nothing_twice(tmp_path: Path) -> None:
    launchers = [FakeLauncher(slots=1), FakeLauncher(slots=1)]
    drivers = [controller_of(resolved(tmp_path), launcher) for launcher in launchers]
    # That a stage was let go of is seen some seconds later: by the other one's next sign of life.
    wait_until(lambda: {driver.step().status for driver in drivers} == {Status.DONE})
    done = Counter(key for launcher in launchers for key in launcher.started_keys())
    assert set(done.values()) == {1}
    assert all(launcher.started for launcher in launchers), "and both take part"


def test_what_another_driver_works_on_says_who(tmp_path: Path) -> None:
    busy = controller_of(resolved(tmp_path), FakeLauncher(holds=True))
    busy.step()
    view = controller_of(resolved(tmp_path), FakeLauncher()).step()
    assert {cell.status for cell in view.cells} == {Status.WAITING}
    assert all("another driver (process " in cell.reason for cell in view.cells)


def test_after_a_kill_the_next_driver_does_the_rest(tmp_path: Path) -> None:
    """No stop(), no release: the claims of the dead stay, and so do files that it was writing."""
    grid, killed = resolved(tmp_path), FakeLauncher(slots=2)
    controller = controller_of(grid, killed)
    for _ in range(3):
        controller.step()
    killed.holds = True
    controller.step()
    store = store_of(grid)
    finished = result_files(store.uri)
    claims = open_claims(store)
    assert finished
    assert claims
    del controller
    gc.collect()
    for path in claims:
        forget_process(path)
        (path.parent.parent / "files-halfway").mkdir()
    heir = FakeLauncher()
    assert drive(controller_of(grid, heir)).status is Status.DONE
    assert not set(heir.started_keys()) & {
        Path(path).parent.name for path in finished if path.endswith("result.json")
    }
    assert {path.parent.parent.name for path in claims} <= set(heir.started_keys())
    assert list(Path(store.uri).rglob("files-halfway")) == []
    assert open_claims(store) == []


def test_what_others_hold_costs_no_request_per_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a grid of which another driver holds every stage, this one tries none."""
    launcher = FakeLauncher(slots=8, holds=True)
    busy = controller_of(resolved(tmp_path), launcher)
    busy.step()
    store, held = store_of(resolved(tmp_path)), set(launcher.started_keys())
    other = controller_of(resolved(tmp_path), FakeLauncher())
    wait_until(lambda: store.claims.held_by_others().keys() == held)
    tried: list[str] = []
    monkeypatch.setattr(Claims, "take", lambda self, key, owner: tried.append(key))
    view = other.step()
    assert tried == []
    assert all("another driver (process " in cell.reason for cell in view.cells)


def test_a_stage_that_another_driver_took_over_is_cancelled_and_counts_as_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, launcher, clock = one_cell(tmp_path), FakeLauncher(slots=1, holds=True), Clock()
    controller = controller_of(grid, launcher, clock)
    controller.step()
    (task,) = launcher.started
    store = store_of(grid)
    for path in open_claims(store):
        forget_process(path)
    taken = store.claims.take(task.spec.key, "another")
    assert isinstance(taken, Ticket)
    monkeypatch.setattr(Heartbeat, "gaps", lambda self: 1)  # it was paused for a minute
    controller.step()
    assert launcher.cancelled == [task.spec.key]
    controller.step()
    assert store.failures.history(task.spec.key) == ()
    assert holder(store, task.spec.key) == Held("another", ProcessIdentity.here())
    store.claims.release(taken)
    launcher.holds = False
    monkeypatch.undo()
    assert drive(controller).status is Status.DONE


def test_a_result_counts_though_its_process_was_killed_right_after_it_committed(
    tmp_path: Path,
) -> None:
    grid, launcher = one_cell(tmp_path), FakeLauncher(slots=1)
    controller = controller_of(grid, launcher)
    while not launcher.tasks(StageKind.PRUNE):
        controller.step()
    launcher.holds = True
    (task,) = launcher.tasks(StageKind.PRUNE)
    finish(task)
    Path(store_of(grid).stages.uri(task.spec.key), "result.json").unlink()  # it came no further
    launcher.cancel(task.spec.key)
    controller.step()
    assert store_of(grid).stages.done(task.spec.key)
    assert launcher.tasks(StageKind.PRUNE) == [task]


def test_a_stopped_grid_is_killed_with_a_reason_and_gives_its_claims_back(tmp_path: Path) -> None:
    grid, launcher = resolved(tmp_path), FakeLauncher()
    controller = controller_of(grid, launcher)
    while not any(cell.status is Status.DONE for cell in controller.step().cells):
        pass
    launcher.holds = True
    before = controller.view()
    controller.stop("stopped by SIGTERM")
    view = controller.view()
    assert launcher.stopped
    assert (view.status, view.reason) == (Status.KILLED, "stopped by SIGTERM")
    for then, now in zip(before.parts, view.parts, strict=True):
        assert now.status is (Status.DONE if then.status is Status.DONE else Status.KILLED)
        assert now.status is Status.DONE or now.reason == "stopped by SIGTERM"
    assert open_claims(store_of(grid)) == []
    assert list(Path(store_of(grid).uri, "drivers").iterdir()) == []


def test_a_grid_stopped_at_once_has_only_killed_parts(tmp_path: Path) -> None:
    controller = controller_of(resolved(tmp_path), FakeLauncher(holds=True))
    controller.step()
    controller.stop("stopped by SIGINT")
    view = controller.view()
    assert {part.status for part in (*view.parts, *view.rankings)} == {Status.KILLED}
