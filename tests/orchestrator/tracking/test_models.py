"""Checkpoints in MLflow: logged models and registered versions."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.tracking.tracker import MlflowTracker
from orchestrator.views.grid_view import GridView
from tests.orchestrator import sample_views as sample
from tests.orchestrator.sample_grids import claim
from tests.orchestrator.tracking.reading import (
    EXPERIMENT,
    REGISTERED,
    all_runs,
    cell_run,
    client_of,
)
from trsp.errors import TrackingError


def test_checkpoints_are_models_linked_both_ways_and_an_alias_marks_one(
    finished: tuple[str, GridView],
) -> None:
    uri, view = finished
    tracker = MlflowTracker(uri, EXPERIMENT)
    client, runs = client_of(uri), all_runs(uri)
    fitting = client.search_logged_models(
        [tracker.experiment_id],
        "metrics.params_M <= 1.2",
        order_by=[{"field_name": "metrics.perplexity/wiki"}],
    )
    assert [model.source_run_id for model in fitting] == [
        cell_run(runs, view, i).info.run_id for i in (4, 3, 5)
    ]
    best = fitting[0]
    assert {m.key: m.dataset_name for m in best.metrics or ()}["perplexity/wiki"] == "wiki"
    assert best.params["lambda_1"] == "0.005"
    outputs = cell_run(runs, view, 4).outputs.model_outputs
    assert [output.model_id for output in outputs] == [best.model_id]

    tracker.move_alias("Tiny-1.5M", view.cells[4].cell.key, claim("best-params-1m"))
    version = client.get_model_version_by_alias(REGISTERED, "best-params-1m")
    assert version.tags["trsp.cell"] == view.cells[4].cell.key
    assert version.source == view.cells[4].checkpoint_uri
    assert version.tags["trsp.logged_model"] == best.model_id
    listed = [{"name": REGISTERED, "version": version.version}]
    assert json.loads(best.tags["mlflow.modelVersions"]) == listed
    with pytest.raises(TrackingError, match="no version of cell"):
        tracker.move_alias("Tiny-1.5M", "cell-unknown", claim("best-params-1m"))


def test_a_cell_that_chose_other_layers_gets_a_new_run(uri: str, tmp_path: Path) -> None:
    done = sample.finished(tmp_path / "store")
    MlflowTracker(uri, EXPERIMENT).finish(done)
    old = cell_run(all_runs(uri), done, 0).info.run_id
    other = replace(done.cells[0], layers=(1, 2), stage_keys={"prune": "prune-other"})
    MlflowTracker(uri, EXPERIMENT).finish(replace(done, cells=(other, *done.cells[1:])))
    new = cell_run(all_runs(uri), done, 0)
    assert new.info.run_id != old
    assert new.data.params["layers"] == "1, 2"
    versions = client_of(uri).search_model_versions(
        f"name = '{REGISTERED}' AND tags.`trsp.cell` = '{other.cell.key}'"
    )
    assert {version.tags["trsp.content"] for version in versions} == {
        done.cells[0].stage_keys["prune"],
        "prune-other",
    }


def note_of(uri: str, view: GridView, cell: int) -> tuple[str, str]:
    """The version of a cell, and what it says of itself."""
    client = client_of(uri)
    (version,) = client.search_model_versions(f"tags.`trsp.cell` = '{view.cells[cell].cell.key}'")
    return str(version.version), str(version.description)


@pytest.fixture
def half_done(uri: str, tmp_path: Path) -> tuple[str, GridView]:
    """A grid whose first cell has its checkpoint and no scores yet, and the view of its end."""
    done = sample.finished(tmp_path / "store")
    bare = replace(done.cells[0], evaluation=None, measurement=None)
    MlflowTracker(uri, EXPERIMENT).finish(replace(done, cells=(bare, *done.cells[1:])))
    return uri, done


def test_a_version_says_its_scores_once_they_are_known(half_done: tuple[str, GridView]) -> None:
    uri, done = half_done
    assert "perplexity/wiki" not in note_of(uri, done, 0)[1]
    MlflowTracker(uri, EXPERIMENT).finish(done)
    assert "perplexity/wiki" in note_of(uri, done, 0)[1]


def test_a_description_that_a_person_wrote_stays(half_done: tuple[str, GridView]) -> None:
    uri, done = half_done
    version, _ = note_of(uri, done, 0)
    client_of(uri).update_model_version(REGISTERED, version, "deployed in March")
    MlflowTracker(uri, EXPERIMENT).finish(done)
    assert note_of(uri, done, 0)[1] == "deployed in March"
