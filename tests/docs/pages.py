"""The pages that people read, and the commands that they show."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.rooms import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_SPAN = re.compile(r"`([^`\n]+)`")
# What begins a command of ours, also in the middle of a sentence.
_OURS = re.compile(r"(?:trsp|make|python -m|python|pytest) [\w./-]")


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the language and the text of each block of a page."""
    return _FENCE.findall(page.read_text(encoding="utf-8"))


def shown_commands(page: Path) -> list[str]:
    """Return each command that a page shows, once: lines of ``sh`` blocks, and spans of ours."""
    text = page.read_text(encoding="utf-8")
    lines = [line for language, block in blocks(page) if language == "sh" for line in _of(block)]
    spans = [span for span in _SPAN.findall(_FENCE.sub("", text)) if _OURS.match(span)]
    return list(dict.fromkeys([*lines, *spans]))


def _of(block: str) -> Iterator[str]:
    """Yield the commands of a block, without comments; continued lines are one."""
    for line in block.replace("\\\n", " ").splitlines():
        if command := re.sub(r"(^|\s+)#.*", "", line).strip():
            yield command
