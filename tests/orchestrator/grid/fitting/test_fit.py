"""What budgets ask of a model: layers to remove, notes, and refusals in words."""

import pytest

from orchestrator.grid.fitting.fit import Fit, fit, size_in_words
from orchestrator.grid.fitting.sizes import Line

LINES = {"params": Line(134.5e6, 3.5e6), "bytes": Line(269e6, 7e6)}  # of 30 layers


def fitted(**budgets: dict[str, float]) -> Fit:
    return fit("m", 30, LINES, budgets)


def test_each_budget_takes_as_few_layers_as_meet_it() -> None:
    found = fitted(large={"params": 125e6}, small={"params": 115e6})
    assert found.removed == {"large": 3, "small": 6}


def test_a_budget_of_two_limits_takes_what_the_tighter_one_needs() -> None:
    assert fitted(both={"params": 125e6, "bytes": 220e6}).removed == {"both": 7}


def test_budgets_that_come_to_the_same_number_make_one_cell() -> None:
    found = fitted(a={"params": 125e6}, b={"params": 124.1e6})
    assert found.counts == (3,)
    assert found.budgets(3) == "a, b"


def test_a_budget_that_the_model_meets_as_it_is_makes_no_cell_but_a_note() -> None:
    found = fitted(loose={"params": 135e6})
    assert not found.removed
    assert found.notes == ("m is within budget loose as it is: that makes no cell",)


def test_a_budget_out_of_reach_is_refused_with_the_least_possible() -> None:
    (reason,) = fitted(tiny={"params": 10e6}).refusals
    assert reason == (
        "no ratio of m meets budget tiny: with 1 of 30 layers left it still has 33M parameters "
        "where 10M parameters are allowed; raise the limit, or leave m out"
    )


def test_only_the_limits_that_are_out_of_reach_are_named() -> None:
    (reason,) = fitted(tiny={"params": 125e6, "bytes": 1e6}).refusals
    assert "66MB of weights where 1MB of weights are allowed" in reason
    assert "parameters" not in reason


def test_a_latency_of_which_nothing_is_known_is_refused_with_the_cure() -> None:
    (reason,) = fitted(fast={"latency_ms": 80}).refusals
    assert "latency_ms: 410" in reason
    assert "trsp measure" in reason


def test_an_unknown_latency_is_a_note_where_other_limits_make_cells() -> None:
    found = fitted(fast={"latency_ms": 80}, small={"params": 115e6})
    assert found.removed == {"small": 6}
    assert not found.refusals
    assert "budget fast limits a latency" in found.notes[0]


@pytest.mark.parametrize(
    ("metric", "value", "words"),
    [
        ("params", 30_123_456, "30.12M parameters"),
        ("params", 6.7e9, "6.7B parameters"),
        ("bytes", 13.5e9, "13.5GB of weights"),
        ("kv_bytes_per_token", 98304, "98,304 bytes of keys and values per token"),
        ("latency_ms", 412.34, "412.3 ms of latency"),
    ],
)
def test_sizes_are_in_the_words_of_people(metric: str, value: float, words: str) -> None:
    assert size_in_words(metric, value) == words
