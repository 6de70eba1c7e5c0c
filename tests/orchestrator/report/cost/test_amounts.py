"""Amounts as people read them: two digits, and the unit that fits."""

import pytest

from orchestrator.costs.bands import Band
from orchestrator.report.cost.amounts import band_text, bytes_text, duration_text, two_digits


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (940, "940 B"),
        (999.6, "1 kB"),
        (3.13e9, "3.1 GB"),
        (226_573_296, "227 MB"),
        (4.54e12, "4.5 TB"),
        (2e18, "2,000 PB"),
    ],
)
def test_bytes(number: float, text: str) -> None:
    assert bytes_text(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.84, "0.84 s"),
        (27.4, "27 s"),
        (119.0, "119 s"),
        (885.0, "15 min"),
        (7199.0, "120 min"),
        (11_500.0, "3.2 h"),
        (440_640.0, "5.1 days"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (0.1234, "0.12"), (0.00523, "0.0052"), (9.96, "10"), (1234.5, "1,234")],
)
def test_numbers(number: float, text: str) -> None:
    assert two_digits(number) == text


def test_a_band_shows_what_is_expected_and_what_lies_around_it() -> None:
    assert band_text(Band(0.22, 0.47, 1.0)) == "0.47 (0.22 to 1)"
    assert band_text(Band(0.22, 0.47, 1.0), unit="core-hours") == "0.47 core-hours (0.22 to 1)"
    assert band_text(Band(2.9e9, 3.1e9, 3.4e9), bytes_text) == "3.1 GB (2.9 GB to 3.4 GB)"


def test_a_band_without_width_is_its_number() -> None:
    assert band_text(Band(5.0, 5.0, 5.0)) == "5"
    assert band_text(Band(5.001, 5.002, 5.003)) == "5"
