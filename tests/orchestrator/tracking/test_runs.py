"""What the runs of a grid hold once they are written."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.tracking.tracker import MlflowTracker
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator import sample_views as sample
from tests.orchestrator.small_views import small_story
from tests.orchestrator.tracking.reading import (
    EXPERIMENT,
    all_runs,
    cell_run,
    client_of,
    download,
    table,
)


def test_a_cell_says_its_settings_scores_and_layers(finished: tuple[str, GridView]) -> None:
    uri, view = finished
    cell = cell_run(all_runs(uri), view, 4)  # gates, a third of the layers, lambda_1 5e-3
    params, metrics = cell.data.params, cell.data.metrics
    assert (params["ratio"], params["lambda_1"], params["lambda_2"], params["layers"]) == (
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
    perplexity = client_of(uri).get_metric_history(cell.info.run_id, "perplexity/wiki")
    assert [m.step for m in perplexity] == [0]


def test_a_cells_numbers_are_short_and_say_their_units(finished: tuple[str, GridView]) -> None:
    uri, view = finished
    metrics = cell_run(all_runs(uri), view, 4).data.metrics
    assert metrics["params_M"] == 1.08
    assert metrics["size_GB"] == 0.00216
    assert metrics["kv_KB_per_token"] == 0.64
    assert metrics["peak_memory_GB"] == 0.9
    assert metrics["stderr/perplexity/wiki"] == 0.31
    assert "stderr/perplexity/c4" not in metrics, "it is not known"
    assert not {"params", "bytes"} & metrics.keys()


def test_what_a_cell_wrote_first_is_its_first_score(finished: tuple[str, GridView]) -> None:
    """MLflow's page of compared runs opens on the metric that all of them had first."""
    uri, view = finished
    assert next(iter(cell_run(all_runs(uri), view, 0).data.metrics)) == "perplexity/wiki"


def test_a_cells_numbers_wait_for_its_scores(uri: str, tmp_path: Path) -> None:
    view = small_story(tmp_path / "store")[-1]
    unscored = replace(view.cells[0], status=Status.RUNNING, stage="evaluate", evaluation=None)
    tracker = MlflowTracker(uri, EXPERIMENT)
    tracker.project(replace(view, cells=(unscored,), status=Status.RUNNING))
    assert cell_run(all_runs(uri), view, 0).data.metrics == {}
    tracker.project(view)
    assert next(iter(cell_run(all_runs(uri), view, 0).data.metrics)) == "perplexity/wiki"


def test_a_cell_that_failed_without_scores_says_what_it_has(uri: str, tmp_path: Path) -> None:
    view = small_story(tmp_path / "store")[-1]
    failed = replace(view.cells[0], status=Status.FAILED, reason="it broke", evaluation=None)
    MlflowTracker(uri, EXPERIMENT).finish(replace(view, cells=(failed,), status=Status.FAILED))
    assert cell_run(all_runs(uri), view, 0).data.metrics["params_M"] == 1.29


def test_a_cells_run_is_as_long_as_its_own_stages_took(uri: str, tmp_path: Path) -> None:
    view = small_story(tmp_path / "store")[-1]
    cell = replace(view.cells[0], began=1_000_000.0, ended=1_000_090.5)
    MlflowTracker(uri, EXPERIMENT).finish(replace(view, cells=(cell,)))
    info = cell_run(all_runs(uri), view, 0).info
    assert (info.start_time, info.end_time) == (1_000_000_000, 1_000_090_500)


def test_a_run_never_ends_before_it_began(uri: str, tmp_path: Path) -> None:
    """A stage's node has another clock than the driver, which saw the stage begin."""
    view = small_story(tmp_path / "store")[-1]
    running = replace(view.cells[0], status=Status.RUNNING, stage="prune", evaluation=None)
    tracker = MlflowTracker(uri, EXPERIMENT)
    tracker.project(replace(view, cells=(running,), status=Status.RUNNING))
    done = replace(view.cells[0], ended=1_000.0)
    tracker.project(replace(view, cells=(done,)))
    info = cell_run(all_runs(uri), view, 0).info
    assert info.end_time == info.start_time


def test_a_cell_whose_ranking_runs_has_no_run_yet(uri: str, tmp_path: Path) -> None:
    view = small_story(tmp_path / "store")[-1]
    ranks = replace(sample.waiting(view.cells[0].cell), status=Status.RUNNING, stage="rank")
    MlflowTracker(uri, EXPERIMENT).project(
        replace(view, cells=(ranks,), status=Status.RUNNING, rankings=())
    )
    assert "cell" not in {kind for kind, _ in all_runs(uri)}


def test_a_run_that_an_earlier_driver_named_is_renamed(uri: str, tmp_path: Path) -> None:
    view = small_story(tmp_path / "store")[-1]
    before = replace(view.cells[0].cell, name="Tiny-1.5M r=0.166667 gates l1=0.001 drift l2=0.001")
    old = replace(view, cells=(replace(view.cells[0], cell=before),))
    MlflowTracker(uri, EXPERIMENT).finish(old)
    (run_before,) = [run for (kind, _), run in all_runs(uri).items() if kind == "cell"]
    MlflowTracker(uri, EXPERIMENT).finish(replace(view, cells=view.cells[:1]))
    (run,) = [run for (kind, _), run in all_runs(uri).items() if kind == "cell"]
    assert run.info.run_id == run_before.info.run_id
    assert run.info.run_name == "1/6 gates l1=1e-3 drift"


def test_a_ranking_says_every_gate_of_every_step(
    finished: tuple[str, GridView], tmp_path: Path
) -> None:
    uri, view = finished
    ranking = view.rankings[0]
    run = all_runs(uri)["rank", f"{ranking.name} ranking"]
    gate_table = table(uri, run, "gates.json", tmp_path)
    assert gate_table["columns"] == ["round", "step", "layer", "gate"]
    of_all_rounds = sum(len(r.gate_layers) * len(r.gate_steps) for r in ranking.rounds)
    assert len(gate_table["data"]) == of_all_rounds
    gates = {(round_, step, layer): gate for round_, step, layer, gate in gate_table["data"]}
    assert gates[1, sample.STEPS, 3] == pytest.approx(ranking.rounds[1].scores[3], abs=1e-6)


def test_a_ranking_says_its_curves_and_shows_its_gates(
    finished: tuple[str, GridView], tmp_path: Path
) -> None:
    uri, view = finished
    client, ranking = client_of(uri), view.rankings[0]
    run = all_runs(uri)["rank", f"{ranking.name} ranking"]
    listed = json.loads(run.data.tags["mlflow.loggedArtifacts"])
    assert listed[0] == {"path": "gates.json", "type": "table"}
    profile = client.get_metric_history(run.info.run_id, "gate_by_layer/round_01")
    assert {m.step: m.value for m in profile} == pytest.approx(ranking.rounds[1].scores)
    smallest = client.get_metric_history(run.info.run_id, "by_round/smallest_gate")
    assert [m.step for m in smallest] == [0, 1, 2, 3]
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files >= {"gates.json", "heatmap.png", "order.json"}
    png = download(uri, run, "heatmap.png", tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")


def test_one_shot_scores_are_not_repeated_in_every_round(finished: tuple[str, GridView]) -> None:
    run = all_runs(finished[0])["rank", "block_influence ranking"]
    profiles = [name for name in run.data.metrics if name.startswith("score_by_layer/")]
    assert profiles == ["score_by_layer/round_00"]


def test_a_ruined_model_is_recorded_too(uri: str, tmp_path: Path) -> None:
    view = sample.finished(tmp_path / "store")
    ruined = replace(view.cells[0], evaluation=sample.evaluation(1e300, 0.2))
    tracker = MlflowTracker(uri, EXPERIMENT)
    tracker.finish(replace(view, cells=(ruined, *view.cells[1:])))
    run = cell_run(all_runs(uri), view, 0)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["perplexity/wiki"] == 1e300
    scores = table(uri, run, "scores.json", tmp_path)
    assert scores["data"][0][:2] == ["perplexity/wiki", 1e300]


def test_no_secret_reaches_mlflow(uri: str, tmp_path: Path) -> None:
    view = sample.finished(tmp_path / "store")
    tracker = MlflowTracker(uri, EXPERIMENT, facts={"origin": "https://me:sesame@git/x"})
    tracker.finish(replace(view, status=Status.FAILED, reason="cannot read s3://me:sesame@bucket"))
    folder = Path(uri.removeprefix("sqlite:///")).parent
    holding = [
        path for path in folder.rglob("*") if path.is_file() and b"sesame" in path.read_bytes()
    ]
    assert holding == []
