"""The tracker and an MLflow that comes and goes: a real server, and a database that is replaced."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.tracking import tracker as tracker_module
from orchestrator.tracking.tracker import MlflowTracker
from tests.forwarder import forwarded
from tests.mlflow_server import TrackingServer
from tests.orchestrator import sample_views as sample
from tests.orchestrator.sample_grids import claim
from tests.orchestrator.small_views import small_story
from tests.orchestrator.tracking.reading import EXPERIMENT, all_runs, client_of, contents
from trsp.errors import TrackingError

pytestmark = pytest.mark.slow


def test_the_grid_goes_on_while_mlflow_is_away_and_catches_up(uri: str, tmp_path: Path) -> None:
    """Its database is replaced by an empty one: what a broken server looks like from here."""
    story = sample.story(tmp_path / "store")
    tracker = MlflowTracker(uri, EXPERIMENT, retry_s=0)
    tracker.project(story[0])
    path = Path(uri.removeprefix("sqlite:///"))
    away = path.with_suffix(".away")
    path.rename(away)
    path.write_bytes(b"")
    tracker.project(story[5])
    assert tracker.behind
    assert tracker.trouble
    with pytest.raises(TrackingError, match="run the same grid file again"):
        tracker.finish(story[-1])
    away.rename(path)
    tracker.project(story[5])
    assert (tracker.behind, tracker.trouble) == (False, "")
    assert "7, 3, 8, 10" in {run.data.tags.get("trsp.order") for run in all_runs(uri).values()}


def summaries(uri: str) -> dict[tuple[str, str], tuple[object, ...]]:
    """Status, params and last values of every run."""
    return {
        name: (run.info.status, run.data.params, run.data.metrics)
        for name, run in all_runs(uri).items()
    }


def test_a_real_server_says_the_same_as_a_database(
    uri: str, tracking_server: TrackingServer, tmp_path: Path
) -> None:
    """Single points are read from the server's database: that is faster by far."""
    done = sample.finished(tmp_path / "store")
    MlflowTracker(uri, EXPERIMENT).finish(done)
    tracking_server.empty_registry()
    with forwarded(tracking_server.port) as url:
        tracker = MlflowTracker(url, EXPERIMENT)
        for view in sample.story(tmp_path / "store"):
            tracker.project(view)
            assert not tracker.behind
        tracker.finish(done)
        tracker.move_alias("Tiny-1.5M", done.cells[0].cell.key, claim())
        assert summaries(url) == summaries(uri)
    remote, local = contents(tracking_server.database), contents(uri)
    assert remote.keys() == local.keys()
    for name in local:
        if name[0] == "version":  # a server refuses folders of other machines as a source
            assert remote[name][0] == local[name][0]
            assert remote[name][1].startswith("models:/")
        else:
            assert remote[name] == local[name], name
    started = time.monotonic()
    tracker.project(replace(done, reason="news while the server is away"))
    assert tracker.behind
    assert time.monotonic() - started < 15
    tracker.project(done)
    assert time.monotonic() - started < 15, "a server that is away is left alone for a while"


def test_two_drivers_that_write_at_the_same_time_end_with_one_finished_run_for_each_part(
    tracking_server: TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They know nothing of each other, as with two stores: each in a thread, as fast as it can."""
    monkeypatch.setattr(tracker_module, "FINISH_PAUSE_S", 2.0)  # time for the other's last runs
    story, both_are_there = small_story(tmp_path / "store"), threading.Barrier(2)

    def drive(tracker: MlflowTracker) -> str:
        both_are_there.wait()
        for view in story:
            tracker.project(view)
        both_are_there.wait()
        tracker.finish(story[-1])
        return tracker.experiment_id

    trackers = [
        MlflowTracker(tracking_server.url, "two untied drivers", retry_s=0) for _ in range(2)
    ]
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(drive, trackers)
    assert first == second
    runs = client_of(tracking_server.url).search_runs([first])
    parts = sorted(run.data.tags["trsp.kind"] for run in runs)
    assert parts == ["cell", "cell", "dense", "grid", "rank", "rank"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert not any("trsp.stage" in run.data.tags for run in runs)
