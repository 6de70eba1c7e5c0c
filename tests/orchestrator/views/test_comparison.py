"""Two checkpoints side by side: which is better, and how sure that is."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.report.looking.comparison_tables import print_comparison
from orchestrator.views.comparison import (
    Row,
    SideBySide,
    common_layers,
    compare_sides,
    find_side,
)
from orchestrator.views.grid_view import CellView, DenseView, Status
from tests.orchestrator import sample_views
from tests.orchestrator.sample_grids import model, scored
from trsp.errors import InvalidInputError
from trsp.records import EvaluationRecord, Score

WORSE = scored(1, 90, 40.0, (3.6, 3.9), Score(value=0.5, stderr=0.1))
BETTER = scored(2, 100, 30.0, (3.3, 3.5), Score(value=0.9, stderr=0.1))
DENSE = DenseView(
    model(), Status.DONE, evaluation=EvaluationRecord(scores={"accuracy": Score(value=0.6)})
)


def row(name: str, first: CellView = WORSE, second: CellView = BETTER) -> Row:
    return next(each for each in compare_sides(first, second).rows if each.name == name)


def test_the_lower_perplexity_is_better_over_the_same_windows() -> None:
    found = row("perplexity/wiki")
    assert found.verdict == "second"
    assert found.comparison is not None
    assert (found.comparison.paired, found.comparison.windows) == (True, 2)
    assert row("perplexity/wiki", BETTER, WORSE).verdict == "first"


def test_the_higher_accuracy_is_better() -> None:
    assert row("accuracy").verdict == "second"


def test_what_lies_within_noise_is_a_tie() -> None:
    assert (
        row("accuracy", WORSE, scored(3, 9, 40.0, (), Score(value=0.6, stderr=0.1))).verdict
        == "tie"
    )


def test_equal_scores_are_a_tie() -> None:
    assert row("perplexity/wiki", WORSE, replace(WORSE)).verdict == "tie"


def test_a_size_has_no_verdict() -> None:
    assert row("params").verdict == ""
    assert (row("params").first, row("params").second) == (90, 100)


def test_removed_layers_in_common_and_apart() -> None:
    both = compare_sides(WORSE, replace(BETTER, layers=(8, 3)))
    assert common_layers(both) == ([8], [7], [3])


def test_settings_that_differ() -> None:
    assert compare_sides(WORSE, BETTER).settings == (("seed", "1", "2"),)


def test_of_two_methods_the_names_differ_and_not_every_key(tmp_path: Path) -> None:
    cells = sample_views.finished(tmp_path).cells
    pairs = [(a, b) for a in cells for b in cells if a.cell.transfer.name != b.cell.transfer.name]
    for first, second in pairs:
        names = [name for name, *_ in compare_sides(first, second).settings]
        assert not [name for name in names if name.startswith("transfer.")]


def test_the_unpruned_model_is_called_dense() -> None:
    assert find_side((WORSE,), (DENSE,), "dense") is DENSE
    assert find_side((WORSE,), (DENSE,), "m dense") is DENSE
    assert find_side((WORSE,), (DENSE,), "seed=1") is WORSE


def test_an_unpruned_model_of_another_name_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="it has 'm dense'"):
        find_side((WORSE,), (DENSE,), "n dense")


def test_a_cell_without_numbers_is_refused() -> None:
    waiting = CellView(WORSE.cell, "rank-0", Status.WAITING)
    with pytest.raises(InvalidInputError, match="it is waiting"):
        compare_sides(WORSE, waiting)


def test_what_was_computed_differently_is_warned_of() -> None:
    by = [
        replace(cell, versions={"evaluate": {"torch": t}})
        for cell, t in ((WORSE, "1"), (BETTER, "2"))
    ]
    (warning,) = compare_sides(*by).warnings
    assert "scores of the two were computed differently: torch 1 and 2" in warning


def printed(both: SideBySide, width: int = 80) -> str:
    out = StringIO()
    print_comparison(both, Console(file=out, width=width))
    return out.getvalue()


def test_eighty_columns_hold_it() -> None:
    said = printed(compare_sides(WORSE, BETTER))
    assert max(map(len, said.splitlines())) <= 80
    assert "-0.35 +- 0.05 nats  B, over 2 windows" in said
    assert "layers removed by both: 7, 8" in said


def test_one_checkpoint_under_two_names_is_said_to_be_one() -> None:
    twin = replace(BETTER, checkpoint_uri=WORSE.checkpoint_uri)
    assert "both are the same checkpoint" in printed(compare_sides(WORSE, twin))
