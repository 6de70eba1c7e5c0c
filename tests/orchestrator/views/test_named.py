"""Which cell a person means by a name, a part of one, a number or a key."""

import pytest

from orchestrator.views.grid_view import CellView
from orchestrator.views.named import find_cell
from tests.orchestrator.sample_grids import scored
from trsp.errors import InvalidInputError

CELLS = tuple(scored(seed, 90, 30.0) for seed in range(1, 13))


def called(text: str) -> CellView:
    return find_cell(CELLS, text)


def refusal(text: str) -> str:
    with pytest.raises(InvalidInputError) as caught:
        called(text)
    return str(caught.value)


def test_a_whole_name_means_its_cell() -> None:
    assert called(CELLS[0].cell.name) is CELLS[0]


def test_a_word_that_only_one_name_has_means_its_cell() -> None:
    assert called("seed=12") is CELLS[11]


def test_a_whole_word_comes_before_the_beginning_of_another() -> None:
    assert called("seed=1") is CELLS[0]


def test_words_may_come_in_any_order() -> None:
    assert called("SEED=3 reverse") is CELLS[2]


def test_a_number_means_the_cell_of_that_place() -> None:
    assert called("#2") is called("2") is CELLS[1]


def test_the_beginning_of_a_key_means_its_cell() -> None:
    assert called(CELLS[4].cell.key[:16]) is CELLS[4]


def test_a_part_of_several_names_is_answered_with_them() -> None:
    said = refusal("reverse")
    assert "'reverse' is a part of the names of 12 cells, give more of one:\n" in said
    assert said.count("\n") == 7
    assert said.endswith("and 6 more")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    said = refusal("reverse nope seed=13")
    assert "no cell of the grid is called" in said
    assert CELLS[0].cell.name in said


def test_a_number_beyond_the_last_cell_is_unknown() -> None:
    assert "of its 12" in refusal("#13")


def test_nothing_means_no_cell() -> None:
    assert "no cell" in refusal("")
