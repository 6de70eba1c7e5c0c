"""Best under a budget: the choice, what comes next, how sure that is, and the front."""

from dataclasses import replace
from math import exp
from random import Random
from statistics import fmean

import pytest

from orchestrator.grid.budgets import Budget
from orchestrator.views.budget import Comparison, choose, compare, outside, pareto_front
from orchestrator.views.grid_view import CellView, Status
from tests.orchestrator.sample_grids import scored
from trsp.records import EvaluationRecord, Score


def names(cells: tuple[CellView, ...]) -> list[int]:
    return [cell.cell.seed for cell in cells]


SMALL, MIDDLE, LARGE = scored(1, 90, 40.0), scored(2, 100, 30.0), scored(3, 120, 25.0)
WORSE_AND_LARGER = scored(4, 110, 33.0)
ALL = (LARGE, SMALL, WORSE_AND_LARGER, MIDDLE)


def test_the_best_within_all_limits() -> None:
    choice = choose(ALL, Budget(max_params=110, max_bytes=230))
    assert (choice.best, choice.runner_up) == (MIDDLE, WORSE_AND_LARGER)
    assert (choice.metric, choice.candidates, choice.cells, choice.nearest) == (
        "perplexity/wiki",
        4,
        4,
        None,
    )
    assert choose(ALL, Budget(max_params=110, max_bytes=199)).best is SMALL
    assert choose(ALL, Budget()).best is LARGE


def test_a_limit_may_be_reached() -> None:
    assert choose(ALL, Budget(max_params=120)).best is LARGE


def test_accuracy_is_maximised() -> None:
    poor, good = (
        scored(1, 90, 40.0, accuracy=Score(value=0.4)),
        scored(2, 100, 50.0, accuracy=Score(value=0.5)),
    )
    assert choose((poor, good), Budget(metric="accuracy")).best is good
    assert choose((poor, good), Budget(), metric="accuracy").best is good
    assert choose((poor, good), Budget()).best is poor


def test_nothing_meets_it() -> None:
    choice = choose(ALL, Budget(max_params=80, max_bytes=100))
    assert (choice.best, choice.runner_up) == (None, None)
    assert choice.nearest is SMALL
    assert choice.overshoot == pytest.approx(1.8)  # bytes, the limit that is missed most


def test_only_cells_with_every_number_take_part() -> None:
    unmeasured = choose(ALL, Budget(max_latency_ms=5))
    assert (unmeasured.best, unmeasured.nearest, unmeasured.candidates) == (None, None, 0)
    unfinished = replace(LARGE, evaluation=None, status=Status.RUNNING)
    choice = choose((unfinished, MIDDLE), Budget())
    assert (choice.best, choice.runner_up, choice.candidates, choice.cells) == (MIDDLE, None, 1, 2)
    assert choose((), Budget()).best is None


def test_equal_ones_are_chosen_by_size_and_then_by_name() -> None:
    twins = [scored(3, 100, 30.0), scored(2, 100, 30.0), scored(5, 99, 30.0)]
    for cells in (twins, twins[::-1]):
        choice = choose(cells, Budget())
        assert choice.best
        assert choice.runner_up
        assert (choice.best.cell.seed, choice.runner_up.cell.seed) == (5, 2)


def test_cells_that_share_a_checkpoint_are_no_runners_up_of_each_other() -> None:
    twins = tuple(replace(scored(seed, 90, 30.0), checkpoint_uri="/store/one") for seed in (1, 2))
    other = replace(scored(3, 90, 31.0), checkpoint_uri="/store/other")
    assert choose((*twins, other), Budget()).runner_up is other
    assert choose(twins, Budget()).runner_up is None


def windows(shift: float, noise: float, seed: int) -> tuple[float, ...]:
    """Texts differ by much; a checkpoint adds ``shift`` and a little noise of its own."""
    texts, own = Random(0), Random(f"checkpoint {seed}")
    return tuple(texts.gauss(3, 1) + shift + own.gauss(0, noise) for _ in range(50))


def cell_of(seed: int, shift: float) -> CellView:
    nll = windows(shift, 0.02, seed)
    return scored(seed, 100, exp(fmean(nll)), nll)


def test_pairing_sees_a_small_difference_between_very_different_texts() -> None:
    choice = choose((cell_of(1, 0.0), cell_of(2, 0.03)), Budget())
    assert choice.comparison
    assert choice.comparison.paired
    assert choice.comparison.windows == 50
    assert choice.comparison.difference == pytest.approx(0.03, abs=0.01)
    assert choice.comparison.stderr == pytest.approx(0.02 * 2**0.5 / 50**0.5, rel=0.3)
    assert not choice.comparison.tie


def test_equal_checkpoints_are_mostly_called_a_tie() -> None:
    """Two standard errors: about 95 of 100 pairs that do not differ."""
    comparisons = [
        compare(cell_of(i, 0.0).evaluation, cell_of(-i, 0.0).evaluation, "perplexity/wiki")
        for i in range(1, 101)
    ]
    assert 88 <= sum(found.tie for found in comparisons if found) <= 99


def test_the_standard_error_by_hand() -> None:
    a = EvaluationRecord(scores={}, window_nll={"wiki": (1.0, 2.0, 3.0)})
    b = EvaluationRecord(scores={}, window_nll={"wiki": (1.1, 2.2, 3.3)})
    found = compare(a, b, "perplexity/wiki")
    assert found
    assert (found.difference, found.stderr) == (pytest.approx(0.2), pytest.approx(0.1 / 3**0.5))


def test_accuracies_by_their_standard_errors() -> None:
    a = EvaluationRecord(scores={"accuracy": Score(value=0.5, stderr=0.03)})
    b = EvaluationRecord(scores={"accuracy": Score(value=0.4, stderr=0.04)})
    found = compare(a, b, "accuracy")
    assert found == Comparison(pytest.approx(-0.1), pytest.approx(0.05), paired=False)
    assert not Comparison(-0.1, 0.05, paired=False).tie
    assert Comparison(-0.1, 0.051, paired=False).tie


def test_what_cannot_be_known_is_not_said() -> None:
    with_windows = EvaluationRecord(
        scores={"perplexity/wiki": Score(value=9)}, window_nll={"wiki": (1.0, 2.0)}
    )
    other_windows = EvaluationRecord(
        scores={"perplexity/wiki": Score(value=9)}, window_nll={"wiki": (1.0, 2.0, 3.0)}
    )
    assert compare(with_windows, other_windows, "perplexity/wiki") is None
    assert compare(None, with_windows, "perplexity/wiki") is None
    assert compare(with_windows, with_windows, "accuracy") is None


def test_the_front_is_what_nothing_beats_in_both() -> None:
    assert names(pareto_front(ALL, "params", "perplexity/wiki")) == [1, 2, 3]
    twin = scored(9, 100, 30.0)
    assert names(pareto_front((*ALL, twin), "params", "perplexity/wiki")) == [1, 2, 3]
    larger_but_equal = scored(8, 101, 30.0)
    assert names(pareto_front((*ALL, larger_but_equal), "params", "perplexity/wiki")) == [1, 2, 3]
    assert pareto_front(ALL, "params", "accuracy") == ()


def test_no_member_of_the_front_is_beaten() -> None:
    random = Random(1)
    cells = [scored(i, random.randint(1, 30), random.randint(1, 30)) for i in range(60)]
    front = pareto_front(cells, "params", "perplexity/wiki")

    def beaten(cell: CellView) -> bool:
        x, y = cell.metrics()["params"], cell.metrics()["perplexity/wiki"]
        others = [
            (other.metrics()["params"], other.metrics()["perplexity/wiki"]) for other in cells
        ]
        return any(a <= x and b <= y and (a, b) != (x, y) for a, b in others)

    assert {id(c) for c in cells if not beaten(c)} >= {id(c) for c in front}
    points = {
        tuple(map(c.metrics().get, ("params", "perplexity/wiki"))) for c in cells if not beaten(c)
    }
    assert points == {tuple(map(c.metrics().get, ("params", "perplexity/wiki"))) for c in front}


def test_cells_outside_a_budget_are_those_known_to_miss_it() -> None:
    cells = (
        scored(1, 90, 30.0),
        scored(2, 130, 25.0),
        replace(scored(3, 140, 20.0), checkpoint=None),
    )
    assert outside(cells, Budget(max_params=120)) == {cells[1].cell.key}
    assert outside(cells, Budget()) == frozenset()
