"""The grids of a store: who ran them, how far they came, and who works on them now."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.cli import main
from orchestrator.coordination.process import ProcessIdentity
from orchestrator.kept_grids.document import KeptGrid
from orchestrator.kept_grids.listing import Listed, listed
from orchestrator.kept_grids.recorder import SAVE_EVERY_S, GridRecorder
from orchestrator.kept_grids.shelf import Kept
from orchestrator.report.looking.grid_list import print_grids
from orchestrator.run import run_grid
from orchestrator.store.store import Store
from orchestrator.views.grid_view import GridView, Status, stopped
from tests.orchestrator import sample_views as sample
from tests.orchestrator.fake_launcher import FakeLauncher

HERE = ProcessIdentity.here()


def document(**changes: object) -> KeptGrid:
    known = {"name": "demo", "grid": {"name": "demo"}, "by": "ada@node-1", "started": 1e9}
    return KeptGrid.model_validate(known | changes)


def keep(store: Store, key: str, **changes: object) -> None:
    store.grids.save(key, document(**changes).model_dump(mode="json"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_the_newest_is_first(store: Store) -> None:
    for key, started in (("grid-old", 1e9), ("grid-new", 3e9), ("grid-mid", 2e9)):
        keep(store, key, started=started)
    assert [each.kept.key for each in listed(store.uri)] == ["grid-new", "grid-mid", "grid-old"]


def test_a_grid_whose_driver_lives_is_running(store: Store) -> None:
    keep(store, "grid-1")
    keep(store, "grid-2")
    store.claims.drivers.say("me", HERE, grid="grid-1")
    running = {each.kept.key: (each.status, each.drivers) for each in listed(store.uri)}
    assert running == {"grid-1": ("running", (HERE.text,)), "grid-2": ("stopped", ())}


def test_a_grid_whose_driver_died_is_stopped(store: Store) -> None:
    keep(store, "grid-1", status="running")
    store.claims.drivers.say("me", replace(HERE, start="1"), grid="grid-1")
    assert [each.status for each in listed(store.uri)] == ["stopped"]


def test_a_grid_that_ended_is_what_its_driver_said(store: Store) -> None:
    keep(store, "grid-1", status="failed", ended=2e9)
    assert [each.status for each in listed(store.uri)] == ["failed"]


def test_a_grid_of_an_older_version_is_listed(store: Store) -> None:
    store.grids.save("grid-1", {"name": "old", "hardware": "cpu"})
    (old,) = listed(store.uri)
    assert (old.kept.grid.name, old.status, old.cells) == ("old", "unknown", 0)


# --- what a driver records ----------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def recorded(store: Store, view: GridView) -> KeptGrid:
    return KeptGrid.model_validate(store.grids.load(view.key))


def test_the_document_says_how_far_the_cells_are(store: Store) -> None:
    view = sample.finished(Path(store.uri))
    keep(store, view.key)
    GridRecorder(store).record(view)
    assert recorded(store, view).cells == {"done": len(view.cells)}
    assert recorded(store, view).by == "ada@node-1"
    assert recorded(store, view).ended is None


def test_what_follows_soon_is_not_recorded_at_once(store: Store) -> None:
    view, clock = sample.finished(Path(store.uri)), Clock()
    keep(store, view.key)
    recorder = GridRecorder(store, clock)
    recorder.record(stopped(replace(view, status=Status.RUNNING), "before"))
    clock.now = SAVE_EVERY_S - 1
    recorder.record(view)
    assert recorded(store, view).status == "killed"
    clock.now = SAVE_EVERY_S
    recorder.record(view)
    assert recorded(store, view).status == "done"


def test_that_a_cell_was_cancelled_is_recorded_at_once(store: Store) -> None:
    view = sample.finished(Path(store.uri))
    keep(store, view.key)
    recorder = GridRecorder(store, Clock())
    recorder.record(view)
    reason = "cancelled by ada@node-1"
    gone = replace(view.cells[0], status=Status.KILLED, reason=reason)
    recorder.record(replace(view, cells=(gone, *view.cells[1:])))
    assert recorded(store, view).cancelled == {gone.cell.key: reason}


def test_a_grid_that_nobody_kept_is_not_recorded(store: Store) -> None:
    GridRecorder(store).conclude(sample.finished(Path(store.uri)))
    assert not store.grids.names()


def test_a_grid_that_was_run_is_listed_as_done(one_cell_file: Path) -> None:
    assert run_grid(one_cell_file, launcher=FakeLauncher()) == 0
    (grid,) = listed(str(one_cell_file.parent / "store"))
    assert (grid.status, grid.count("done"), grid.cells) == ("done", 1, 1)
    assert grid.kept.grid.ended
    assert grid.kept.grid.file == "job.yaml"
    assert "@" in grid.kept.grid.by


# --- what is printed ----------------------------------------------------------


def printed(*grids: Listed, width: int = 80) -> str:
    out = StringIO()
    print_grids(grids, "s3://bucket/store", Console(file=out, width=width))
    return out.getvalue()


def test_eighty_columns_hold_a_line_per_grid() -> None:
    kept = document(cells={"done": 570, "failed": 8, "running": 2}, status="running")
    lines = printed(Listed(Kept("grid-0123456789abcdef", kept), ("process 12 on node-1",)))
    assert max(map(len, lines.splitlines())) <= 80
    row = " ".join(lines.splitlines()[2].split())
    assert row == "demo 012345678 ada@node-1 2001-09-09 01:46 570 of 580 8 running"


def test_who_runs_a_grid_now_is_said() -> None:
    said = printed(Listed(Kept("grid-1", document()), ("process 12 on node-1",)))
    assert "demo is run by process 12 on node-1 now" in said


def test_an_empty_store_says_what_to_do() -> None:
    assert (
        printed() == "no grid was run in the store s3://bucket/store yet: trsp run FILE runs one\n"
    )


def test_list_for_programs(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    keep(store, "grid-1", cells={"done": 2}, ended=2e9, status="done")
    with pytest.raises(SystemExit, match="0"):
        main(["list", "--store", store.uri, "--json"])
    (grid,) = json.loads(capsys.readouterr().out)
    assert (grid["key"], grid["status"], grid["cells"]) == ("grid-1", "done", {"done": 2})
