"""Units, equal values side by side, and standard errors."""

import pytest

from orchestrator.pictures.quantities import needs_log, scale_of, side_by_side, standard_error
from tests.orchestrator.large_views import large_view


@pytest.mark.parametrize(
    ("name", "value", "label", "divisor"),
    [
        ("params", 134.5e6, "parameters (millions)", 1e6),
        ("params", 6.7e9, "parameters (billions)", 1e9),
        ("peak_memory_bytes", 40e9, "peak memory (GB)", 1e9),
        ("kv_bytes_per_token", 23_040.0, "keys and values per token (kB)", 1e3),
        ("latency_ms", 80.0, "latency of a prompt (ms)", 1.0),
    ],
)
def test_a_number_has_the_unit_that_fits(
    name: str, value: float, label: str, divisor: float
) -> None:
    assert scale_of(name, [value / 2, value]) == (label, divisor)


def test_a_value_that_stands_alone_stays_where_it_is() -> None:
    assert side_by_side([1.0, 2.0, 4.0]) == [1.0, 2.0, 4.0]


def test_equal_values_keep_their_middle_and_move_by_at_most_two_percent() -> None:
    moved = side_by_side([0.0, *([5.0] * 40), 10.0])[1:-1]
    assert len(set(moved)) == 40
    assert sum(moved) / 40 == pytest.approx(5.0)
    assert max(moved) - 5.0 <= 0.02 * 10 + 1e-9


def test_a_ruined_model_makes_the_axis_logarithmic() -> None:
    assert needs_log([20.0, 25.0, 9_000.0])
    assert not needs_log([20.0, 60.0])
    assert not needs_log([0.0, 0.5])


def test_the_error_of_a_latency_is_that_of_the_mean_of_its_repeats() -> None:
    cell = large_view().cells[0]
    assert standard_error(cell, "latency_ms") == pytest.approx(4 / 10**0.5)
    assert standard_error(cell, "params") == 0.0
