"""The pages of the repository name files that exist."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES
from tests.rooms import ROOT

CODE = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"(?<![\w./-])(?:[\w.-]+/)+[\w.-]+\.(?:py|yaml|txt|json|md|svg|png)\b")
LINK = re.compile(r"\]\(([^)#\s]+)")
BELOW = ("", "orchestrator/", "docs/")  # what a path in a text may be relative to


def named_files(page: Path) -> set[str]:
    """Paths of files in code spans; placeholders and files of a store left out."""
    text = page.read_text(encoding="utf-8")
    found = {path for span in CODE.findall(text) for path in FILE.findall(span)}
    return {path for path in found if not re.search(r"[A-Z]{3}|rounds/|^OUT", path)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    missing = {p for p in named_files(page) if not any((ROOT / b / p).exists() for b in BELOW)}
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    links = {link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link}
    assert not {link for link in links if not (page.parent / link).exists()}
