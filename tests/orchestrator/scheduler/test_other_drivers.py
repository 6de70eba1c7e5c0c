"""The controller beside other drivers, after one that was killed, and when it is stopped itself."""

import json
from collections import Counter
from pathlib import Path

from orchestrator.scheduler.controller import RENEW_CLAIMS_S
from orchestrator.store.claims import Claim
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import (
    MAX_STEPS,
    Clock,
    FakeLauncher,
    controller_of,
    drive,
    resolved,
    result_files,
    store_of,
)


def test_two_drivers_at_once_do_nothing_twice(tmp_path: Path) -> None:
    launchers = [FakeLauncher(slots=1), FakeLauncher(slots=1)]
    drivers = [controller_of(resolved(tmp_path), launcher) for launcher in launchers]
    for _ in range(MAX_STEPS):
        views = [driver.step() for driver in drivers]
        if all(view.status is Status.DONE for view in views):
            break
    assert [view.status for view in views] == [Status.DONE] * 2
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
    claims = list(Path(store.uri).rglob("claim.json"))
    assert finished
    assert claims
    for path in claims:
        held = json.loads(path.read_text())
        path.write_text(json.dumps(held | {"process_start": "1"}))  # its process is gone
        (path.parent / "files-halfway").mkdir()
    heir = FakeLauncher()
    assert drive(controller_of(grid, heir)).status is Status.DONE
    assert not set(heir.started_keys()) & {
        Path(path).parent.name for path in finished if path.endswith("result.json")
    }
    assert {path.parent.name for path in claims} <= set(heir.started_keys())
    assert list(Path(store.uri).rglob("files-halfway")) == []
    assert list(Path(store.uri).rglob("claim.json")) == []


def test_claims_are_renewed_while_stages_run(tmp_path: Path) -> None:
    clock, launcher, grid = Clock(), FakeLauncher(slots=1, holds=True), resolved(tmp_path)
    controller = controller_of(grid, launcher, clock)
    controller.step()
    store, key = store_of(grid), launcher.started_keys()[0]
    before = store.claims.holder(key)
    clock.now += RENEW_CLAIMS_S
    controller.step()
    after = store.claims.holder(key)
    assert isinstance(before, Claim)
    assert isinstance(after, Claim)
    assert after.owner == before.owner
    assert after.renewed > before.renewed


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
    assert list(Path(store_of(grid).uri).rglob("claim.json")) == []


def test_a_grid_stopped_at_once_has_only_killed_parts(tmp_path: Path) -> None:
    controller = controller_of(resolved(tmp_path), FakeLauncher(holds=True))
    controller.step()
    controller.stop("stopped by SIGINT")
    view = controller.view()
    assert {part.status for part in (*view.parts, *view.rankings)} == {Status.KILLED}
