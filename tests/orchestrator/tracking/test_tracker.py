"""The tracker against real MLflow: a database, a server, and a server that is away."""

import contextlib
import json
import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.tracking.content import leaderboard
from orchestrator.tracking.content.describe import closed
from orchestrator.tracking.content.figures import heatmap_rows
from orchestrator.tracking.content.redact import redact, redact_tree
from orchestrator.tracking.content.values import rounded
from orchestrator.tracking.tracker import MlflowTracker, check
from orchestrator.views.grid_view import GridView, Status
from tests.browser.chromium import mlflow_server
from tests.orchestrator import sample_views as sample
from trsp.errors import TrackingError

EXPERIMENT = "TRSP tests"
DEAD_PORT = 9  # discard: nothing listens there


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making the tables takes seconds: once, then copied."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    check(f"sqlite:///{path}")
    return path


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    folder = tmp_path / "with a space"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture(scope="module")
def finished(
    empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, GridView]:
    """A finished grid, projected at once. Read only."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    view = sample.finished(folder / "store")
    MlflowTracker(f"sqlite:///{folder}/mlflow.db", EXPERIMENT).finish(view)
    return f"sqlite:///{folder}/mlflow.db", view


def client_of(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def all_runs(uri: str) -> dict[tuple[str, str], Run]:
    """Every run by kind and name; fails on two of one name, which is how a duplicate would show."""
    client = client_of(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = list(client.search_runs([experiment.experiment_id], max_results=1000))
    named = {(run.data.tags["trsp.kind"], run.info.run_name): run for run in runs}
    assert len(named) == len(runs), "two runs of one kind and name"
    return named


def told(uri: str) -> dict[Any, Any]:
    """All that MLflow says of the grid, without ids and times: equal for equal projections."""
    client = client_of(uri)
    said: dict[Any, Any] = {}
    for name, run in all_runs(uri).items():
        histories = {
            key: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, key))
            for key in run.data.metrics
        }
        own = {
            key: value
            for key, value in run.data.tags.items()
            if key not in ("mlflow.parentRunId", "trsp.alive")
        }
        files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
        outputs = len(run.outputs.model_outputs) if run.outputs else 0
        said[name] = (run.info.status, dict(run.data.params), own, histories, files, outputs)
    for version in client.search_model_versions(f"name = '{registered()}'"):
        own = {key: value for key, value in version.tags.items() if key != "trsp.logged_model"}
        said["version", version.tags["trsp.cell"]] = (own, version.source, version.description)
    return said


def registered() -> str:
    return "Tiny-1-5M"


def named_cell(runs: dict[tuple[str, str], Run], view: GridView, index: int) -> Run:
    return runs["cell", view.cells[index].cell.name]


# --- pure parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (27.56341, 27.56),
        (1234.56, 1235.0),
        (0.0012345, 0.001234),
        (134515008, 134515008),
        (0.0, 0.0),
    ],
)
def test_rounding_keeps_four_digits_and_whole_numbers(value: float, shown: float) -> None:
    assert rounded(value) == pytest.approx(shown, rel=1e-9)


def test_secrets_are_hidden_wherever_they_stand() -> None:
    assert (
        redact("cannot reach postgresql://me:pw@db/x, sorry")
        == "cannot reach postgresql://***@db/x, sorry"
    )
    settings = {
        "uri": "http://me:pw@host",
        "password": "pw",
        "block_tokens": 512,
        "list": ["s3://k:s@bucket"],
        "hf_token": "hf_x",
    }
    hidden = redact_tree(settings)
    assert "pw" not in json.dumps(hidden)
    assert hidden["block_tokens"] == 512
    assert hidden["hf_token"] == "***"


def test_heatmap_has_a_row_a_round_and_holes_where_layers_are_gone() -> None:
    rows = heatmap_rows(sample.ranking_view("gates", 1e-3, 3, Status.RUNNING, ()))
    assert [len(row) for row in rows] == [sample.LAYERS] * 3
    gone = [[layer for layer, value in enumerate(row) if value != value] for row in rows]
    assert gone == [[], [7], [3, 7]]


def test_shared_view_sorts_the_cells_by_the_first_perplexity(tmp_path: Path) -> None:
    view = sample.finished(tmp_path)
    state = json.loads(leaderboard.shared_view(view))
    assert state["orderByKey"] == "metrics.`perplexity/wiki`"
    assert state["orderByAsc"] is True
    assert f"tags.`trsp.grid` = '{view.key}'" in state["searchFilter"]
    assert "params.`model`" not in state["selectedColumns"], "one model: its name says nothing"
    assert leaderboard.share_key(view.key) == leaderboard.share_key(
        sample.story(tmp_path)[0].key
    ), "the link never changes"


def test_closing_a_view_kills_what_is_not_over(tmp_path: Path) -> None:
    view = closed(sample.story(tmp_path)[8])
    assert {cell.status for cell in view.cells} == {Status.DONE, Status.KILLED}
    assert view.status is Status.KILLED
    assert all(cell.reason for cell in view.cells if cell.status is Status.KILLED)


# --- a database -----------------------------------------------------------------------------------------------------------


def test_a_grid_grows_and_ends(uri: str, tmp_path: Path) -> None:
    tracker = MlflowTracker(
        uri, EXPERIMENT, facts={"submission_id": "raysubmit_1", "git_sha": "abc123"}
    )
    story = sample.story(tmp_path / "store")

    tracker.project(story[0])
    runs = all_runs(uri)
    assert not tracker.behind
    assert not [name for kind, name in runs if kind == "cell"], "no run before a cell's work begins"
    assert runs["grid", "sample"].info.status == "RUNNING"

    for view in story[1:3]:
        tracker.project(view)
    rank = all_runs(uri)["rank", "Tiny-1.5M gates l1=0.005 ranking"]
    assert rank.info.status == "RUNNING"
    assert rank.data.tags["trsp.order"] == "7, 3"

    for view in story[3:]:
        tracker.project(view)
    tracker.finish(story[-1])
    runs = all_runs(uri)
    assert {kind: sum(k == kind for k, _ in runs) for kind, _ in runs} == {
        "grid": 1,
        "rank": 3,
        "dense": 1,
        "cell": 6,
    }
    assert all(run.data.tags["trsp.git_sha"] == "abc123" for run in runs.values())
    parent = runs.pop(("grid", "sample"))
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    failed = named_cell(runs, story[-1], -1)
    assert (failed.info.status, failed.data.tags["trsp.reason"]) == (
        "FAILED",
        "the text is too short",
    )
    assert (parent.info.status, parent.data.tags["trsp.reason"]) == (
        "FAILED",
        "1 of 6 cells failed",
    )
    assert [run.info.status for run in runs.values() if run is not failed] == ["FINISHED"] * 9


def test_a_cell_says_its_settings_scores_and_layers(finished: tuple[str, GridView]) -> None:
    uri, view = finished
    cell = named_cell(all_runs(uri), view, 4)  # gates, a third of the layers, lambda_1 5e-3
    params, metrics = cell.data.params, cell.data.metrics
    assert (params["ratio"], params["gate_l1"], params["drift"], params["layers"]) == (
        "0.3333",
        "0.005",
        "0.001",
        "7, 3, 8, 10",
    )
    assert params["selector.placement"] == "residual"
    assert metrics["perplexity/wiki"] == 53.73
    assert metrics["dense/perplexity/wiki"] == 27.56
    assert metrics["kept"] == 0.72
    assert metrics["seconds/transfer"] == 33.3
    assert cell.info.run_name == view.cells[4].cell.name
    history = client_of(uri).get_metric_history(cell.info.run_id, "by_step/drift")
    assert [m.step for m in history] == list(range(1, 17))
    assert [
        m.step for m in client_of(uri).get_metric_history(cell.info.run_id, "perplexity/wiki")
    ] == [0]


def test_a_ranking_says_every_gate_of_every_step(
    finished: tuple[str, GridView], tmp_path: Path
) -> None:
    uri, view = finished
    client, rank = client_of(uri), view.rankings[0]
    run = all_runs(uri)["rank", f"{rank.name} ranking"]
    table = json.loads(
        Path(client.download_artifacts(run.info.run_id, "gates.json", str(tmp_path))).read_text()
    )
    assert table["columns"] == ["round", "step", "layer", "gate"]
    assert len(table["data"]) == sum(len(r.gate_layers) * len(r.gate_steps) for r in rank.rounds)
    gates = {(round_, step, layer): gate for round_, step, layer, gate in table["data"]}
    assert gates[1, sample.STEPS, 3] == pytest.approx(rank.rounds[1].scores[3], abs=1e-6)
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"])[0] == {
        "path": "gates.json",
        "type": "table",
    }
    profile = client.get_metric_history(run.info.run_id, "gate_by_layer/round_01")
    assert {m.step: m.value for m in profile} == pytest.approx(rank.rounds[1].scores)
    assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {
        "gates.json",
        "heatmap.png",
        "order.json",
    }
    smallest = client.get_metric_history(run.info.run_id, "by_round/smallest_gate")
    assert [m.step for m in smallest] == [0, 1, 2, 3]
    png = Path(client.download_artifacts(run.info.run_id, "heatmap.png", str(tmp_path)))
    assert png.read_bytes().startswith(b"\x89PNG")


def test_one_shot_scores_are_not_repeated_in_every_round(finished: tuple[str, GridView]) -> None:
    run = all_runs(finished[0])["rank", "Tiny-1.5M block_influence ranking"]
    assert [name for name in run.data.metrics if name.startswith("score_by_layer/")] == [
        "score_by_layer/round_00"
    ]


def test_checkpoints_are_models_linked_both_ways_and_an_alias_marks_one(
    finished: tuple[str, GridView],
) -> None:
    uri, view = finished
    tracker = MlflowTracker(uri, EXPERIMENT)
    client, runs = client_of(uri), all_runs(uri)
    fitting = client.search_logged_models(
        [tracker.experiment_id],
        "metrics.params <= 1200000",
        order_by=[{"field_name": "metrics.perplexity/wiki"}],
    )
    assert [model.source_run_id for model in fitting] == [
        named_cell(runs, view, i).info.run_id for i in (4, 3, 5)
    ]
    best = fitting[0]
    assert {m.key: m.dataset_name for m in best.metrics or ()}["perplexity/wiki"] == "wiki"
    assert best.params["gate_l1"] == "0.005"
    outputs = runs["cell", view.cells[4].cell.name].outputs.model_outputs
    assert [output.model_id for output in outputs] == [best.model_id]

    tracker.set_alias("Tiny-1.5M", "best-params-1m", view.cells[4].cell.key)
    version = client.get_model_version_by_alias(registered(), "best-params-1m")
    assert version.tags["trsp.cell"] == view.cells[4].cell.key
    assert version.source == view.cells[4].checkpoint_uri
    assert version.tags["trsp.logged_model"] == best.model_id
    assert json.loads(best.tags["mlflow.modelVersions"]) == [
        {"name": registered(), "version": version.version}
    ]
    with pytest.raises(TrackingError, match="no version of cell"):
        tracker.set_alias("Tiny-1.5M", "best-params-1m", "cell-unknown")


@pytest.mark.slow
def test_nothing_is_written_twice(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Growth in one process, growth with a new process at every moment, and a rebuild say the same."""
    story = sample.story(tmp_path / "store")
    done = sample.finished(tmp_path / "store")
    for view in (*story, done):
        tracker = MlflowTracker(uri, EXPERIMENT)
        tracker.project(view)
    tracker.finish(done)
    grown = told(uri)
    rebuilt = str(uri).replace("mlflow.db", "rebuilt.db")
    check(rebuilt)
    MlflowTracker(rebuilt, EXPERIMENT).finish(done)
    again = told(rebuilt)
    assert grown.keys() == again.keys()
    for name in grown:
        assert grown[name] == again[name], name
    writes: list[str] = []
    for method in (
        "log_batch",
        "log_artifact",
        "set_terminated",
        "create_run",
        "create_model_version",
        "log_outputs",
    ):
        monkeypatch.setattr(
            MlflowClient, method, lambda *_, method=method, **__: writes.append(method)
        )
    tracker.project(closed(done))
    MlflowTracker(uri, EXPERIMENT).project(done)
    assert writes == []


@pytest.mark.slow
def test_a_crash_between_writing_and_remembering_leaves_no_duplicates(
    uri: str, tmp_path: Path
) -> None:
    done = sample.finished(tmp_path / "store")
    MlflowTracker(uri, EXPERIMENT).finish(done)
    before = told(uri)
    client = client_of(uri)
    for run in all_runs(uri).values():
        client.delete_tag(run.info.run_id, "trsp.written")
    MlflowTracker(uri, EXPERIMENT).finish(done)
    after = told(uri)
    assert before.keys() == after.keys()
    for name in before:
        if name[0] == "version":
            assert before[name] == after[name]
            continue
        curves = {key: points for key, points in before[name][3].items() if "by_" in key}
        assert {key: after[name][3][key] for key in curves} == curves
        assert after[name][:3] + after[name][4:] == before[name][:3] + before[name][4:]


def test_a_rerun_opens_the_same_runs_again(uri: str, tmp_path: Path) -> None:
    story = sample.story(tmp_path / "store")
    MlflowTracker(uri, EXPERIMENT).finish(
        story[7]
    )  # stopped in the middle: one cell done, one under way
    stopped = all_runs(uri)
    assert {run.info.status for run in stopped.values()} == {"FINISHED", "KILLED"}
    again = MlflowTracker(uri, EXPERIMENT)
    again.project(story[7])
    running = all_runs(uri)
    assert {name: run.info.run_id for name, run in running.items()} == {
        n: r.info.run_id for n, r in stopped.items()
    }
    assert running["grid", "sample"].info.status == "RUNNING"
    again.finish(sample.finished(tmp_path / "store"))
    assert {run.info.status for run in all_runs(uri).values()} == {"FINISHED"}


def test_runs_of_killed_drivers_are_swept_and_those_of_living_ones_are_not(
    uri: str, tmp_path: Path
) -> None:
    running = sample.story(tmp_path / "store")[5]
    tracker = MlflowTracker(uri, EXPERIMENT)
    tracker.project(running)
    assert tracker.sweep() == 0, "its driver was heard of a moment ago"
    assert tracker.sweep(alive_grids=[running.key], silent_s=-1) == 0
    open_runs = sum(run.info.status == "RUNNING" for run in all_runs(uri).values())
    assert tracker.sweep(silent_s=-1) == open_runs > 0
    swept = all_runs(uri)["grid", "sample"]
    assert (swept.info.status, swept.data.tags["trsp.reason"]) == ("KILLED", "its job was killed")


def test_a_cell_that_chose_other_layers_gets_a_new_run(uri: str, tmp_path: Path) -> None:
    done = sample.finished(tmp_path / "store")
    MlflowTracker(uri, EXPERIMENT).finish(done)
    old = named_cell(all_runs(uri), done, 0).info.run_id
    other = replace(done.cells[0], layers=(1, 2), stage_keys={"prune": "prune-other"})
    MlflowTracker(uri, EXPERIMENT).finish(replace(done, cells=(other, *done.cells[1:])))
    new = named_cell(all_runs(uri), done, 0)
    assert new.info.run_id != old
    assert new.data.params["layers"] == "1, 2"
    versions = client_of(uri).search_model_versions(
        f"name = '{registered()}' AND tags.`trsp.cell` = '{other.cell.key}'"
    )
    assert {version.tags["trsp.content"] for version in versions} == {
        done.cells[0].stage_keys["prune"],
        "prune-other",
    }


def test_a_ruined_model_is_recorded_too(uri: str, tmp_path: Path) -> None:
    view = sample.finished(tmp_path / "store")
    ruined = replace(view.cells[0], evaluation=sample.evaluation(float("inf"), 0.2))
    tracker = MlflowTracker(uri, EXPERIMENT)
    tracker.finish(replace(view, cells=(ruined, *view.cells[1:])))
    run = named_cell(all_runs(uri), view, 0)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["perplexity/wiki"] > 1e300
    table = json.loads(
        Path(
            client_of(uri).download_artifacts(run.info.run_id, "scores.json", str(tmp_path))
        ).read_text()
    )
    assert table["data"][0][:2] == ["perplexity/wiki", "inf"]


def test_no_secret_reaches_mlflow(uri: str, tmp_path: Path) -> None:
    view = sample.finished(tmp_path / "store")
    tracker = MlflowTracker(uri, EXPERIMENT, facts={"origin": "https://me:sesame@git/x"})
    tracker.finish(replace(view, status=Status.FAILED, reason="cannot read s3://me:sesame@bucket"))
    folder = Path(uri.removeprefix("sqlite:///")).parent
    holding = [
        path for path in folder.rglob("*") if path.is_file() and b"sesame" in path.read_bytes()
    ]
    assert holding == []


# --- servers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        f"http://me:sesame@127.0.0.1:{DEAD_PORT}",
        f"postgresql+psycopg2://me:sesame@127.0.0.1:{DEAD_PORT}/mlflow",
    ],
)
def test_a_server_that_is_away_is_said_within_seconds(bad: str) -> None:
    started = time.monotonic()
    with pytest.raises(TrackingError, match=r"no MLflow at .*\*\*\*@.*start the server") as caught:
        check(bad)
    assert time.monotonic() - started < 10
    assert "sesame" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.slow
def test_a_server_that_accepts_and_says_nothing_is_said_within_seconds() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        started = time.monotonic()
        with pytest.raises(TrackingError, match="no MLflow at"):
            check(f"http://127.0.0.1:{mute.getsockname()[1]}")
        assert time.monotonic() - started < 25


def test_a_database_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    started = time.monotonic()
    with pytest.raises(TrackingError, match="no MLflow at sqlite"):
        check(f"sqlite:///{tmp_path}/file/mlflow.db")
    (tmp_path / "text.db").write_text(
        "a text, not a database, and long enough to be read as a header" * 3
    )
    with pytest.raises(TrackingError, match="file is not a database"):
        check(f"sqlite:///{tmp_path}/text.db")
    assert time.monotonic() - started < 5


@pytest.mark.slow
def test_the_grid_goes_on_while_mlflow_is_away_and_catches_up(
    uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its database is replaced by an empty one: what a broken server looks like from here."""
    story = sample.story(tmp_path / "store")
    tracker = MlflowTracker(uri, EXPERIMENT, retry_s=0)
    tracker.project(story[0])
    path = Path(uri.removeprefix("sqlite:///"))
    away = path.with_suffix(".away")
    path.rename(away)
    path.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        tracker.project(story[5])
    assert tracker.behind
    assert len([r for r in caplog.records if r.name == "orchestrator.tracking.tracker"]) == 1
    with pytest.raises(TrackingError, match="run the same grid file again"):
        tracker.finish(story[-1])
    away.rename(path)
    tracker.project(story[5])
    assert not tracker.behind
    assert "7, 3, 8, 10" in {run.data.tags.get("trsp.order") for run in all_runs(uri).values()}


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[str]:
    folder.mkdir()
    with mlflow_server(f"sqlite:///{folder}/server.db", folder) as base:
        yield base


@pytest.mark.slow
def test_a_real_server_says_the_same_as_a_database(uri: str, tmp_path: Path) -> None:
    done = sample.finished(tmp_path / "store")
    MlflowTracker(uri, EXPERIMENT).finish(done)
    with _server(tmp_path / "server") as base:
        tracker = MlflowTracker(base, EXPERIMENT)
        for view in sample.story(tmp_path / "store"):
            tracker.project(view)
            assert not tracker.behind
        tracker.finish(done)
        tracker.set_alias("Tiny-1.5M", "best", done.cells[0].cell.key)
        remote, local = told(base), told(uri)
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
