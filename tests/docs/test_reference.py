"""The reference pages are of the code as it is, and say what a key takes in words."""

import re
from typing import Any

import pytest

from benchmarks.stage_estimates import lines
from docs.write_reference import FOLDER, PAGES
from docs.writers.value_types import type_text
from orchestrator.commands.app import command_names
from orchestrator.grid.schema import Grid


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_of_this_code(name: str) -> None:
    written = (FOLDER / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), "run: python -m docs.write_reference"


def test_every_key_of_the_file_has_a_row_with_an_example() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .+ \| .+ \| `\1: .+` \|$", PAGES["grid-file.md"](), re.M)
    assert set(Grid.model_fields) <= set(rows)


def test_no_default_is_of_the_machine_that_wrote_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    here = PAGES["grid-file.md"]()
    monkeypatch.setenv("TRSP_HOME", "/elsewhere")
    assert PAGES["grid-file.md"]() == here


def test_links_within_a_page_lead_to_its_headings() -> None:
    for page in PAGES.values():
        text = page()
        headings = re.findall(r"^#+ (.+)$", text, re.M)
        anchors = {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}
        assert set(re.findall(r"\]\(#(.+?)\)", text)) <= anchors


def test_every_command_has_a_section_and_a_line_among_the_contents() -> None:
    text = PAGES["commands.md"]()
    for name in command_names():
        assert f"\n## `trsp {name}`\n" in text
        assert f"| [`trsp {name}`](#trsp-{name}) |" in text


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "integer", "exclusiveMinimum": 0}, "whole number above 0"),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, "number from 0 below 1"),
        ({"enum": ["l2", "l1"]}, "`l2` or `l1`"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "text"),
        (
            {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]},
            "text or a list of these",
        ),
        ({"type": "array", "items": {"$ref": "#/$defs/Budget"}}, "a list of [mappings](#budgets)"),
        ({"anyOf": [{"const": "auto"}, {"$ref": "#/$defs/Budget"}]}, "`auto` or [a mapping](#b"),
    ],
)
def test_what_a_key_takes_is_said_in_words(schema: dict[str, Any], said: str) -> None:
    assert type_text(schema, {"Budget": "[a mapping](#budgets)"}).startswith(said)


def test_the_table_of_how_long_stages_take_is_what_its_command_prints() -> None:
    page = (FOLDER.parent / "guides" / "how_long.md").read_text(encoding="utf-8")
    assert "\n".join(lines()) in page, "python -m benchmarks.stage_estimates prints it"
