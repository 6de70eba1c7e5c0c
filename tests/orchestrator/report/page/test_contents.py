"""What a grid's report says, as plain data: answers, cells, failures, costs, origins."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.grid.budgets import Budget
from orchestrator.report.page.contents import contents
from orchestrator.report.page.history import cost_table, failures
from orchestrator.report.page.origins import grid_file, origin_table
from orchestrator.report.page.tables import PageTable, duration, layer_list
from orchestrator.views.grid_view import Status
from tests.orchestrator import sample_views as sample
from tests.orchestrator.large_views import large_view
from tests.orchestrator.report.page.views import asked, finished, half_failed, just_begun


def column(table: PageTable, title: str) -> list[str]:
    """Return the texts of a column."""
    index = [each.title for each in table.columns].index(title)
    return [row[index].text for row in table.rows]


def test_an_answer_names_the_best_its_score_and_the_unpruned_models(tmp_path: Path) -> None:
    (answer,) = contents(finished(tmp_path)).answers
    assert answer.best == "1/6 gates l1=5e-3 drift"
    facts = {fact.name: fact.value for fact in answer.facts}
    assert facts["perplexity/wiki"] == "42.07 ± 0.31"
    assert facts["unpruned"] == "27.56 ± 0.31"
    assert facts["removed layers"] == "3, 7 of 12"


def test_an_answer_says_how_to_load_it(tmp_path: Path) -> None:
    (answer,) = contents(finished(tmp_path)).answers
    assert "AutoModelForCausalLM.from_pretrained(" in answer.load


def test_an_answer_says_who_is_next_and_whether_they_tie(tmp_path: Path) -> None:
    (answer,) = contents(finished(tmp_path)).answers
    assert answer.verdict == "clear"
    assert answer.runner_up.startswith("runner-up: 1/6 gates l1=1e-3 drift; behind by ")


def test_where_nothing_meets_a_budget_the_nearest_is_named(tmp_path: Path) -> None:
    (answer,) = contents(asked(sample.finished(tmp_path), Budget(max_params=1000))).answers
    assert answer.best == ""
    assert answer.why[0].startswith("nothing meets this budget; nearest is 1/3 ")
    assert not answer.facts


def test_cells_stand_best_first(tmp_path: Path) -> None:
    view = finished(tmp_path)
    scores = {cell.cell.name: cell.metrics()["perplexity/wiki"] for cell in view.cells}
    assert column(contents(view).cells, "cell") == sorted(scores, key=lambda name: scores[name])


def test_a_setting_that_all_cells_share_has_no_column(tmp_path: Path) -> None:
    titles = [each.title for each in contents(finished(tmp_path)).cells.columns]
    assert {"ratio", "selector", "λ₁", "transfer"} <= {*titles}
    assert not {"seed", "model"} & {*titles}


def test_the_best_cell_is_marked_in_the_table(tmp_path: Path) -> None:
    first = contents(finished(tmp_path)).cells.rows[0][0]
    assert first.notes == ("best: best-params-1300k",)


def test_a_failed_cell_says_why_and_comes_last(tmp_path: Path) -> None:
    said = contents(half_failed(tmp_path))
    assert column(said.cells, "status")[-1] == "failed: evaluate"
    assert said.cells.rows[-1][1].notes == ("the text is too short",)
    assert said.progress == "5 of 6 cells done, 1 failed"


def test_cells_that_failed_for_one_reason_are_told_together() -> None:
    (failure,) = failures(large_view())
    assert failure.stage == "transfer"
    assert failure.reason.startswith("CUDA out of memory")
    assert len(failure.names) == 3


def test_a_grid_that_has_just_begun_has_a_report_too(tmp_path: Path) -> None:
    said = contents(just_begun(tmp_path))
    assert said.progress == "0 of 6 cells done, 6 waiting"
    assert [each.name for each in said.pictures] == ["layers"], "block influence is ranked"
    assert column(said.rankings, "rounds") == ["0 of 4", "0 of 4", "4 of 4"]


def test_a_stage_that_cells_share_costs_once(tmp_path: Path) -> None:
    view = finished(tmp_path)
    shared = {"prune": "prune-1", "evaluate": "evaluate-1"}
    cells = tuple(replace(cell, stage_keys={**cell.stage_keys, **shared}) for cell in view.cells)
    table = cost_table(replace(view, cells=cells))
    counts = dict(zip(column(table, "stages"), column(table, "done"), strict=True))
    assert (counts["prune"], counts["evaluate"], counts["ranking"]) == ("1", "1", "3")


def test_origins_name_the_models_the_hardware_and_the_versions(tmp_path: Path) -> None:
    view = finished(tmp_path)
    versions = {"evaluate": {"torch": "2.9.0", "device": "cpu"}}
    view = replace(view, cells=tuple(replace(each, versions=versions) for each in view.cells))
    rows = [(row[0].text, row[1].text) for row in origin_table(view).rows]
    assert ("model", "Tiny-1.5M: /models/tiny, model-fingerprint") in rows
    assert ("speed measured on", "cpu") in rows
    assert rows.count(("computed with", "torch 2.9.0, device cpu")) == 1


def test_origins_name_the_texts() -> None:
    rows = [(row[0].text, row[1].text) for row in origin_table(large_view()).rows]
    assert ("calibration text", "wiki: wiki.jsonl") in rows
    assert ("evaluation text", "wiki: test.jsonl") in rows


def test_the_grid_file_is_shown_without_secrets(tmp_path: Path) -> None:
    shown = grid_file(finished(tmp_path))
    assert "sesame" not in shown
    assert "postgresql://***@db/mlflow" in shown


def test_a_report_of_a_stopped_grid_says_by_whom(tmp_path: Path) -> None:
    view = replace(half_failed(tmp_path), status=Status.KILLED, reason="stopped by SIGTERM")
    assert contents(view).remarks == ("stopped by SIGTERM",)


@pytest.mark.parametrize(
    ("layers", "shown"),
    [
        ((17, 13, 14), "13, 14, 17"),
        ((5, 3, 4, 9), "3–5, 9"),
        ((), "none"),
        (None, "–"),
        ((1, 2, 3, 4), "1–4"),
    ],
)
def test_layers_in_a_row_are_a_range(layers: tuple[int, ...] | None, shown: str) -> None:
    assert layer_list(layers) == shown


def test_a_duration_has_the_unit_that_fits() -> None:
    assert [duration(each) for each in (4.25, 600, 9000)] == ["4.2 s", "10 min", "2.5 h"]
