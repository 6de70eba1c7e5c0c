"""The leaderboard's view and link. That MLflow's page understands them: tests/browser."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.grid.schema import load_grid
from orchestrator.stages.resolve import resolve_offline
from orchestrator.tracking.content import leaderboard
from orchestrator.views.grid_view import GridView
from tests.orchestrator import sample_views as sample

JOBS = Path(__file__).parents[4] / "jobs"


def state_of(view: GridView) -> Any:
    return json.loads(leaderboard.shared_view(view))


def test_shared_view_sorts_the_cells_by_the_first_perplexity(tmp_path: Path) -> None:
    view = sample.finished(tmp_path)
    state = state_of(view)
    assert state["orderByKey"] == "metrics.`perplexity/wiki`"
    assert state["orderByAsc"] is True
    assert f"tags.`trsp.grid` = '{view.key}'" in state["searchFilter"]
    at_first = leaderboard.share_key(sample.story(tmp_path)[0].key)
    assert leaderboard.share_key(view.key) == at_first, "the link never changes"


def test_the_settings_that_tell_cells_apart_are_the_first_columns(tmp_path: Path) -> None:
    columns = state_of(sample.finished(tmp_path))["columnOrder"]
    assert columns[:6] == [
        "attributes.`Run Name`",
        "params.`ratio`",
        "params.`selector`",
        "params.`lambda_1`",
        "params.`transfer`",
        "metrics.`perplexity/wiki`",
    ], "one model, one lambda_2, one seed: they say nothing"


def test_the_scores_come_before_the_sizes_with_the_error_of_the_first(tmp_path: Path) -> None:
    columns = state_of(sample.finished(tmp_path))["columnOrder"]
    metrics = [name.split("`")[1] for name in columns if name.startswith("metrics")]
    assert metrics == [
        "perplexity/wiki",
        "stderr/perplexity/wiki",
        "perplexity/c4",
        "accuracy",
        "params_M",
        "size_GB",
        "latency_ms",
        "kept",
        "dense/perplexity/wiki",
    ]


def test_a_grid_without_scores_yet_has_its_view(tmp_path: Path) -> None:
    state = state_of(sample.story(tmp_path)[0])
    assert state["columnOrder"][1] == "params.`ratio`"
    assert state["compareRunSections"] == []


def test_charts_show_quality_against_size_speed_and_ratio(tmp_path: Path) -> None:
    state = state_of(sample.finished(tmp_path))
    first = state["compareRunSections"][0]
    assert first["name"] == "perplexity/wiki against size, speed and ratio"
    drawn = [
        chart for chart in state["compareRunCharts"] if chart["metricSectionId"] == first["uuid"]
    ]
    assert [(chart["xaxis"]["key"], chart["yaxis"]["key"]) for chart in drawn] == [
        ("params_M", "perplexity/wiki"),
        ("latency_ms", "perplexity/wiki"),
        ("ratio", "perplexity/wiki"),
    ]


def visible(names: list[str]) -> set[str]:
    """The names as the column shows them, whose width the view gives."""
    room = leaderboard.name_width(names) - leaderboard.BESIDE_NAME_PX
    return {name[: int(room / leaderboard.CHARACTER_PX)] for name in names}


@pytest.mark.parametrize("job", ["demo", "grid", "paper"])
def test_no_two_cells_of_a_job_read_alike_in_the_column_of_names(job: str) -> None:
    """Of jobs/grid.yaml and jobs/paper.yaml, which have several models, too."""
    names = [cell.name for cell in resolve_offline(load_grid(JOBS / f"{job}.yaml")).cells]
    assert len(visible(names)) == len(names)


def test_names_of_a_grid_of_one_model_are_told_apart_by_their_first_30_characters() -> None:
    names = [cell.name for cell in resolve_offline(load_grid(JOBS / "demo.yaml")).cells]
    assert len({name[:30] for name in names}) == len(names)


def test_absurdly_long_names_leave_room_for_the_columns() -> None:
    assert leaderboard.name_width(["x" * 500]) == leaderboard.WIDEST_NAME_PX


def test_the_model_is_a_column_where_a_grid_has_several(tmp_path: Path) -> None:
    view = sample.finished(tmp_path)
    other = replace(view.cells[0].cell, model=replace(sample.MODEL, name="Other"))
    two = replace(view, cells=(*view.cells, replace(view.cells[0], cell=other)))
    assert state_of(two)["columnOrder"][1] == "params.`model`"
