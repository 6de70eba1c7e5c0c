"""Writes docs/reference/: every key of a grid file and every command, from the code.

    python -m docs.write_reference

tests/docs/test_reference.py fails while a page is of other code.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from docs.writers.commands import commands_page
from docs.writers.grid_file import grid_file_page

FOLDER = Path(__file__).resolve().parent / "reference"
PAGES: Mapping[str, Callable[[], str]] = {
    "grid-file.md": grid_file_page,
    "commands.md": commands_page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
        sys.stdout.write(f"{FOLDER / name}\n")
