"""The site's table of contents names every page, and grid files in the pages are grid files."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from orchestrator.grid.schema import Grid
from tests.docs.pages import PAGES
from tests.rooms import ROOT

SITE = ROOT / "docs" / "site" / "mkdocs.yml"
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.M | re.S)
TOP = {"index.md": "README.md", "CONTRIBUTING.md": "CONTRIBUTING.md"}
TOP["CHANGELOG.md"] = "CHANGELOG.md"


def named(contents: Any) -> Iterator[str]:
    """Yield the pages of a table of contents, in order."""
    if isinstance(contents, str):
        yield contents
    elif isinstance(contents, dict):
        for each in contents.values():
            yield from named(each)
    else:
        for each in contents:
            yield from named(each)


def test_the_contents_name_every_page_once() -> None:
    listed = list(named(yaml.safe_load(SITE.read_text(encoding="utf-8"))["nav"]))
    assert len(listed) == len(set(listed))
    assert {ROOT / TOP.get(name, f"docs/{name}") for name in listed} == set(PAGES)


GRIDS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
    if re.search(r"^models:", block, re.M) and re.search(r"^calibration:", block, re.M)
]


def test_pages_show_grid_files() -> None:
    assert len(GRIDS) >= 4


@pytest.mark.parametrize("block", GRIDS)
def test_a_grid_file_that_a_page_shows_is_accepted(block: str) -> None:
    Grid.model_validate(yaml.safe_load(block) | {"name": "shown"})


def test_a_part_of_a_grid_file_that_a_page_shows_has_keys_that_exist() -> None:
    parts = [
        yaml.safe_load(block)
        for page in PAGES
        for block in BLOCK.findall(page.read_text(encoding="utf-8"))
    ]
    text = {"name": "wiki", "path": "/wiki.txt"}
    evaluation = {"perplexity": [{"text": text}], "benchmarks": {"tasks": ["piqa"]}}
    least = {"models": "m", "calibration": {"text": text}, "evaluation": evaluation}
    assert parts
    for part in parts:
        Grid.model_validate({"name": "shown", **least, **part})
