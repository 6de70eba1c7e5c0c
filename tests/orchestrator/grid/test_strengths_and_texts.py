"""The lambda_2 that each scale of the drift has by default, and what an expansion notes.

Of a strength that belongs to the other scale, and of a text whose rows are lines.
"""

from typing import Any

import pytest

from tests.orchestrator.sample_grids import expanded, grid

PAPER = {"name": "drift", "preset": "paper"}


def test_where_none_is_named_each_transfer_has_its_own_strength() -> None:
    unannealed = {"name": "drift", "anneal": False}
    found = expanded(transfer=["drift", unannealed, PAPER, "heal", "none"])
    assert [(cell.transfer.name, cell.drift) for cell in found.cells] == [
        ("drift", 0.0),
        ("drift", 0.3),
        ("drift", 1e-3),
        ("heal", None),
        ("none", None),
    ]
    assert not found.notes


def test_an_exclude_sees_the_strength_that_stands_in() -> None:
    found = expanded(transfer=["drift", PAPER, "none"], exclude=[{"drift": 1e-3}])
    assert [cell.drift for cell in found.cells] == [0.0, None]


def test_an_axis_that_is_left_out_has_one_value() -> None:
    with pytest.raises(ValueError, match="ratios has 2, drift has 1"):
        grid(zip=[["ratios", "drift"]], ratios=[0.2, 0.4])


@pytest.mark.parametrize(
    ("transfer", "strength", "noted"),
    [
        ("drift", 0, False),
        ("drift", 1e-3, True),
        ("drift", 1e-2, True),
        ("drift", 0.03, False),
        ({"name": "drift", "norm": "l1"}, 1e-3, True),
        (PAPER, 1e-4, False),
        (PAPER, 0.03, False),
        (PAPER, 0.1, True),
        ({**PAPER, "norm": "l1"}, 0.1, False),  # a mean absolute value is of another size
        ("heal", 1e-3, False),
    ],
)
def test_a_strength_of_the_other_scale_is_noted(
    transfer: Any, strength: float, noted: bool
) -> None:
    found = expanded(transfer=transfer, drift=strength)
    assert [f"lambda_2 = {strength:g}" in note for note in found.notes] == [True] * noted
    assert len(found.cells) == 1


def test_a_note_says_once_which_transfer_it_is_of_and_what_to_take() -> None:
    found = expanded(ratios=[0.2, 0.4], transfer=["drift", PAPER], drift=1e-3)
    (note,) = found.notes
    assert note.startswith("drift: lambda_2 = 0.001 changes nothing under drift_scale: relative")
    assert "take 0, or 0.1 to 1" in note


# --- texts --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cut", "noted"),
    [
        ({"dataset": "Salesforce/wikitext"}, "documents", True),
        ({"dataset": "Salesforce/wikitext", "document_start": "^ = [^=]"}, "documents", False),
        ({"dataset": "Salesforce/wikitext"}, "stream", False),
        ({"dataset": "allenai/c4"}, "documents", False),
        ({"path": "wikitext.jsonl"}, "documents", False),
    ],
)
def test_articles_cut_into_lines_are_noted(text: dict[str, str], cut: str, noted: bool) -> None:
    found = expanded(calibration={"text": {"name": "t", **text}, "cut": cut})
    assert ["document_start: '^ = [^=]'" in note for note in found.notes] == [True] * noted
