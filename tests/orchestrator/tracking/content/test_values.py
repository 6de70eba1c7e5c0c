"""Values as MLflow takes them."""

import pytest

from orchestrator.tracking.content.values import rounded


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (27.56341, 27.56),
        (1234.56, 1235.0),
        (0.0012345, 0.001234),
        (134515008, 134515008),
        (0.0, 0.0),
    ],
)
def test_rounding_keeps_four_digits_and_whole_numbers(value: float, shown: float) -> None:
    assert rounded(value) == pytest.approx(shown, rel=1e-9)
