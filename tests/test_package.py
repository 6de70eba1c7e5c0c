"""The wheel: what it holds, and that it works in a folder where no clone is."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.rooms import PATHS, ROOT

_BUILD = "from setuptools.build_meta import build_wheel; import sys; build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the wheel, built from a copy: building leaves folders beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source, built = folder / "source", folder / "built"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("trsp", "orchestrator", "jobs"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-c", _BUILD, str(built)], cwd=source, check=True, capture_output=True
    )
    (wheel,) = built.glob("*.whl")
    with ZipFile(wheel) as content:
        content.extractall(folder / "unpacked")
    return folder / "unpacked"


def trsp(unpacked: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the unpacked wheel's command in ``folder``."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(unpacked), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_holds_every_module(unpacked: Path) -> None:
    modules = {path.relative_to(ROOT) for path in PATHS.values()}
    assert not {path for path in modules if not (unpacked / path).is_file()}


def test_it_holds_what_modules_read_beside_them(unpacked: Path) -> None:
    beside = {
        path.relative_to(ROOT)
        for package in ("trsp", "orchestrator")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert not {path for path in beside if not (unpacked / path).is_file()}


@pytest.mark.parametrize("package", ["trsp", "orchestrator"])
def test_it_says_that_its_packages_are_typed(unpacked: Path, package: str) -> None:
    assert (unpacked / package / "py.typed").is_file()


def test_it_holds_the_example_jobs(unpacked: Path) -> None:
    shipped = {path.name for path in (unpacked / "orchestrator" / "examples").iterdir()}
    assert shipped == {path.name for path in (ROOT / "jobs").glob("*.yaml")}


def test_it_installs_its_two_packages_and_nothing_beside_them(unpacked: Path) -> None:
    top = {path.name for path in unpacked.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"trsp", "orchestrator"}


def test_its_help_is_shown_in_another_folder(unpacked: Path, tmp_path: Path) -> None:
    done = trsp(unpacked, tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage: trsp" in done.stdout


def test_it_writes_an_example_in_another_folder(unpacked: Path, tmp_path: Path) -> None:
    done = trsp(unpacked, tmp_path, "init", "--example", "demo")
    assert done.returncode == 0, done.stderr
    written = tmp_path / "demo.yaml"
    assert written.stat().st_mode & stat.S_IXUSR
    assert f"$schema={unpacked}/orchestrator/grid.schema.json" in written.read_text()
