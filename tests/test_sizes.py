"""Small pieces: how long functions and files may be."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.rooms import ROOT

FOLDERS = ("trsp", "orchestrator", "tests", "jobs", "benchmarks", "docs")
PACKAGES = ("trsp", "orchestrator")
MOST_LINES_OF_A_FILE = 260
MOST_LINES_OF_A_FUNCTION = 45
NINE_OF_TEN_FUNCTIONS = 18  # lines, signature and docstring included


def files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


@cache
def functions(path: Path) -> tuple[tuple[int, str], ...]:
    """Lines and name of every function and method of a file."""
    return tuple(
        ((node.end_lineno or 0) - node.lineno + 1, f"{path.relative_to(ROOT)}: {node.name}")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_files(folder: str) -> None:
    lines = {str(path): path.read_text(encoding="utf-8").count("\n") for path in files(folder)}
    assert lines
    assert not {name: count for name, count in lines.items() if count > MOST_LINES_OF_A_FILE}


@pytest.mark.parametrize("folder", FOLDERS)
def test_functions(folder: str) -> None:
    found = [each for path in files(folder) for each in functions(path)]
    assert not [(count, name) for count, name in found if count > MOST_LINES_OF_A_FUNCTION]


@pytest.mark.parametrize("package", PACKAGES)
def test_nine_of_ten_functions_of_a_package_are_short(package: str) -> None:
    counts = sorted(count for path in files(package) for count, _ in functions(path))
    assert counts[len(counts) * 9 // 10] <= NINE_OF_TEN_FUNCTIONS
