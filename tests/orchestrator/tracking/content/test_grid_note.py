"""The page of a grid's run: answers, cells, links and pictures."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.grid.budgets import Budget
from orchestrator.tracking.content import grid_note as module
from orchestrator.tracking.content.describe_grid import grid_state
from orchestrator.tracking.content.grid_note import grid_note
from orchestrator.views.answers import answers
from orchestrator.views.budget import Choice
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator import sample_views as sample

SMALL = Budget(max_params=1_300_000)


def asked(view: GridView, *budgets: Budget) -> GridView:
    """The view of a grid that has these budgets."""
    return replace(view, metrics=("perplexity/wiki", "perplexity/c4", "accuracy"), budgets=budgets)


def lines(view: GridView) -> list[str]:
    """The lines of the note, each with single blanks only."""
    return [" ".join(line.split()) for line in grid_note(view, "7").splitlines()]


@pytest.fixture
def view(tmp_path: Path) -> GridView:
    return asked(sample.finished(tmp_path), SMALL)


def test_the_note_begins_with_the_answer_under_each_budget(view: GridView) -> None:
    first, _, answer, *_ = grid_note(view, "7").splitlines()
    assert first.startswith("6 cells: 6 done · [Leaderboard](#/experiments/7/runs?")
    assert answer == (
        "- params <= 1.3M: **`1/6 gates l1=5e-3 drift`**, perplexity/wiki 42.07 ± 0.31"
    )


def test_the_note_has_the_unpruned_model_and_the_cells_best_first(view: GridView) -> None:
    rows = [line for line in lines(view) if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [
        "Tiny-1.5M",
        "1/6 gates l1=5e-3 drift",
        "1/6 gates l1=1e-3 drift",
        "1/6 block_influence none",
        "1/3 gates l1=5e-3 drift",
        "1/3 gates l1=1e-3 drift",
        "1/3 block_influence none",
    ]
    assert "| 27.56 ± 0.31 | 39.42 | 0.451 |" in rows[0]


def test_the_note_says_what_is_nearest_where_nothing_meets_a_budget(view: GridView) -> None:
    note = grid_note(asked(view, Budget(max_params=1_000_000)), "7")
    assert "- params <= 1.0M: nothing; nearest is `1/3 " in note


def test_the_note_of_a_grid_that_has_just_begun_says_that_nothing_is_known(tmp_path: Path) -> None:
    note = grid_note(asked(sample.story(tmp_path)[0], SMALL), "7")
    assert "- params <= 1.3M: no cell is known yet" in note
    assert "best first" not in note


def test_a_large_grids_note_fits_into_what_mlflow_takes(view: GridView) -> None:
    many = tuple(
        replace(cell, cell=replace(cell.cell, name=f"{cell.cell.name} seed={seed}"))
        for seed in range(100)
        for cell in view.cells
    )
    note = grid_note(replace(view, cells=many), "7")
    assert len(note) < 8000
    assert "more are in the leaderboard and in `cells.json`" in note


def test_the_notes_tables_are_tables_to_markdown(view: GridView) -> None:
    """Below each table's head is a line of dashes that holds nothing else, one per column."""
    shown = grid_note(view, "7").splitlines()
    heads = [at for at, line in enumerate(shown) if line.startswith(("| within", "| cell"))]
    assert len(heads) == 2
    for at in heads:
        assert shown[at + 1] == "|" + " --- |" * (shown[at].count("|") - 1)


def test_a_name_cannot_break_the_table(view: GridView) -> None:
    odd = replace(view.cells[0].cell, name="a|b `c`")
    note = grid_note(replace(view, cells=(replace(view.cells[0], cell=odd),)), "7")
    assert "| `a/b c` |" in " ".join(note.split())


def test_answers_are_looked_for_again_only_where_a_number_has_changed(
    view: GridView, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[GridView] = []

    def counting(asked_of: GridView) -> tuple[Choice, ...]:
        calls.append(asked_of)
        return answers(asked_of)

    monkeypatch.setattr(module, "answers", counting)
    running = replace(view.cells[0], status=Status.RUNNING, reason="step 3 of 4")
    grid_state(replace(view, cells=(running, *view.cells[1:])))
    grid_state(replace(view, cells=(replace(running, reason="step 4"), *view.cells[1:])))
    assert len(calls) == 1
    grid_state(replace(view, cells=(replace(running, evaluation=None), *view.cells[1:])))
    assert len(calls) == 2


def metrics_of(view: GridView) -> dict[str, float]:
    return dict(grid_state(view).finals)


def test_a_grids_metrics_are_its_best_scores_and_how_far_it_is(view: GridView) -> None:
    assert metrics_of(view) == {
        "best-params-1300k/perplexity/wiki": 42.07,
        "best-params-1300k/params_M": 1.29,
        "dense/perplexity/wiki": 27.56,
        "dense/perplexity/c4": 39.42,
        "dense/accuracy": 0.451,
        "cells/done": 6,
        "cells/failed": 0,
    }


def pictures(view: GridView) -> Iterator[str]:
    return (each.path for each in grid_state(view).artifacts if each.path.endswith(".png"))


def test_a_finished_grid_has_pictures_which_its_note_shows(view: GridView) -> None:
    paths = list(pictures(view))
    assert "pictures/front-params-perplexity-wiki.png" in paths
    assert all(path in grid_state(view, "7").note for path in paths)


def test_pictures_are_drawn_into_files(view: GridView, tmp_path: Path) -> None:
    picture = next(each for each in grid_state(view).artifacts if each.path.endswith(".png"))
    picture.write(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_is_drawn_again_only_for_other_numbers(view: GridView) -> None:
    def version(view: GridView) -> str:
        return next(a for a in grid_state(view).artifacts if a.path.endswith(".png")).version()

    assert version(view) == version(replace(view, name="another"))
    other = replace(view.cells[0], evaluation=sample.evaluation(99.0, 0.4))
    assert version(view) != version(replace(view, cells=(other, *view.cells[1:])))


@pytest.mark.parametrize("status", [Status.RUNNING, Status.KILLED])
def test_no_picture_is_drawn_while_a_grid_runs_or_somebody_waits_for_its_end(
    view: GridView, status: Status
) -> None:
    assert not list(pictures(replace(view, status=status)))
