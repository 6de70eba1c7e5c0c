"""Texts that fit a terminal, with every number whole."""

import re

import pytest

from orchestrator.report.standing.fitting import duration, shortened, wrapped

NAME = "1/6 gates l1=0.005 drift l2=0.125 seed=3 SmolLM2-135M-Instruct"


@pytest.mark.parametrize("width", range(1, 70))
def test_a_shortened_name_fits_and_its_numbers_are_those_of_the_name(width: int) -> None:
    short = shortened(NAME, width)
    assert len(short) <= width
    assert set(re.findall(r"\d[\d.]*", short)) <= set(re.findall(r"\d[\d.]*", NAME))


def test_a_name_that_fits_is_left_alone() -> None:
    assert shortened(NAME, len(NAME)) == NAME


def test_a_name_loses_words_of_its_middle() -> None:
    assert shortened(NAME, 40) == "1/6 gates … seed=3 SmolLM2-135M-Instruct"


def test_a_single_long_word_is_parted_between_its_numbers() -> None:
    assert shortened("checkpoint-12345678-of-the-model-87654321", 24) == "checkpoint-…-87654321"


@pytest.mark.parametrize("width", [10, 20, 40])
def test_wrapped_lines_fit_and_keep_every_number(width: int) -> None:
    text = "the text /data/wiki-20231101/part-0001.jsonl has 12345 windows of 2048; lower windows"
    lines = wrapped(text, width)
    assert max(map(len, lines)) <= width
    assert re.findall(r"\d+", " ".join(lines)) == re.findall(r"\d+", text)


def test_of_too_many_lines_the_last_one_says_that_there_is_more() -> None:
    assert wrapped("one two three four five six", 10, 2) == ["one two", "three …"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
