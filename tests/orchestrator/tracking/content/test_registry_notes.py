"""What the registry's pages say: a version's scores, and which version is best under a budget."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.tracking.content.registry_notes import (
    HEADING,
    Marked,
    model_note,
    version_note,
    with_best,
)
from orchestrator.views.grid_view import CellView
from tests.orchestrator import sample_views as sample
from tests.orchestrator.sample_grids import claim

NOTE = "r=0.1 gates: without layers 1, 2\n\n1.0 M params"
FIRST = Marked(
    "demo-a", "3", replace(claim("demo-a", 23.2, stderr=0.6), budget="params <= 9"), NOTE
)


@pytest.fixture
def cell(tmp_path: Path) -> CellView:
    return sample.finished(tmp_path).cells[0]


def test_a_version_says_its_scores_with_their_errors_and_how_it_is_loaded(cell: CellView) -> None:
    first, scores, loading = version_note(cell, "/store/checkpoint").split("\n\n")
    assert first == f"{cell.cell.name}: without layers 3, 7"
    assert cell.evaluation is not None
    for name, score in cell.evaluation.scores.items():
        error = f" +- {score.stderr:.2g}" if score.stderr is not None else ""
        assert f"{name} {score.value:.4g}{error}" in scores
    assert "M params" in scores
    assert 'from_pretrained("/store/checkpoint")' in loading


def test_a_version_without_scores_yet_says_its_sizes(cell: CellView) -> None:
    bare = replace(cell, evaluation=None, measurement=None)
    assert version_note(bare, "/x").split("\n\n")[1].count(";") == 1


def test_the_models_page_leads_from_each_budget_to_its_version() -> None:
    page = with_best(model_note("org/m"), "org-m", [FIRST])
    assert page.startswith("Pruned checkpoints of **org/m**")
    assert page.splitlines()[-1].replace(" &emsp;", "") == (
        "| params <= 9 | [Version 3](#/models/org-m/versions/3?workflowType=machine_learning) "
        "| perplexity/wiki 23.2 +- 0.6 | r=0.1 gates: without layers 1, 2 | `demo-a` |"
    )


def test_a_table_written_again_replaces_the_one_before() -> None:
    page = with_best("mine", "m", [FIRST])
    moved = with_best(page, "m", [replace(FIRST, version="4")])
    assert (moved.count(HEADING), "versions/4" in moved, "versions/3" in moved) == (1, True, False)


def test_what_a_person_wrote_around_the_table_stays() -> None:
    page = with_best("before", "m", [FIRST]) + "\n\n### Contact\n\nJane"
    again = with_best(page, "m", [])
    assert again == "before\n\n### Contact\n\nJane"


def test_nothing_changes_where_nothing_is_new() -> None:
    page = with_best(model_note("m"), "m", [FIRST])
    assert with_best(page, "m", [FIRST]) == page


def test_budgets_stand_by_grid_and_alias() -> None:
    second = replace(FIRST, alias="demo-b", version="1")
    rows = with_best("", "m", [second, FIRST]).splitlines()[-2:]
    assert ["`demo-a`" in row for row in rows] == [True, False]


@pytest.mark.parametrize("uri", ["/store/checkpoint", "s3://bucket/checkpoint"])
def test_what_loads_a_version_is_python(cell: CellView, uri: str) -> None:
    program = version_note(cell, uri).partition("```python\n")[2].partition("```")[0]
    compile(program, "note", "exec")
    assert uri in program
