"""Estimates of memory corrected by what was measured."""

import pytest

from orchestrator.layouts.correction import Correction
from orchestrator.layouts.memory import Memory, Peak

ESTIMATE = Peak(Memory(weights=100, runtime=10), Memory(weights=1000, runtime=20))


def _measured(measured_bytes: int, runtime_bytes: int = 0) -> Correction:
    document = {
        "estimated_bytes": 100,
        "measured_bytes": measured_bytes,
        "runtime_bytes": runtime_bytes,
    }
    return Correction.from_document(document)


@pytest.mark.parametrize(
    ("measured_bytes", "factor"), [(130, 1.3), (100, 1.0), (70, 1.0), (900, 2.0)]
)
def test_a_factor_is_at_least_1_and_at_most_2(measured_bytes: int, factor: float) -> None:
    assert _measured(measured_bytes).factor == factor


@pytest.mark.parametrize("document", [{}, {"estimated_bytes": 0, "measured_bytes": 1}, {"x": "y"}])
def test_a_document_of_other_content_corrects_nothing(document: dict[str, object]) -> None:
    assert Correction.from_document(document).of(ESTIMATE) == ESTIMATE


def test_the_gpu_is_corrected_where_there_is_one_and_else_the_host() -> None:
    correction = _measured(150, runtime_bytes=25)
    on_gpu, on_host = correction.of(ESTIMATE), correction.of(Peak(ESTIMATE.host))
    assert on_gpu == Peak(ESTIMATE.host, Memory(weights=1500, runtime=25))
    assert on_host == Peak(Memory(weights=150, runtime=20))  # at most twice the runtime's estimate


def test_of_several_kinds_of_device_the_largest_counts() -> None:
    assert Correction.largest([_measured(130), _measured(110, 5)]) == Correction(1.3, 5)
    assert Correction.largest([]) == Correction()
