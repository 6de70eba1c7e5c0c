"""What a grid's job takes along: this code, the grid file, and the texts that it names beside it.

Knows no Ray. A job works in a copy of the folder that is made here, on every node, and that copy is
thrown away: what a file names by a relative path is put into it or refused.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.grid.schema import Grid, load_grid
from orchestrator.grid.yaml_file import expand_variables, read_yaml
from orchestrator.scratch import scratch_folder
from trsp.errors import InvalidInputError

CODE = Path(__file__).resolve().parents[3]  # a clone, or where packages are installed
PACKAGES = ("orchestrator", "trsp")
MOST_BYTES = 200 * 10**6  # of texts; all of a job's folder passes through the cluster's head
_LOST = "a job's own folder is thrown away with it; write an absolute path that all nodes see"
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")


@dataclass(frozen=True)
class Package:
    """A folder for a job to work in, and the grid file's path within it."""

    folder: Path
    file: str
    grid: str  # its name
    texts: tuple[str, ...] = ()  # paths of what travels beside code and grid file


@contextmanager
def packed(file: Path, here: Path) -> Iterator[Package]:
    """A folder with this code, a grid file and its texts, which is gone afterwards.

    ``here``: the folder that relative paths in the file start from. Raises InvalidInputError for a
    file that is no grid, and for paths that would lead nowhere in a job.
    """
    grid = load_grid(file)
    texts = _texts_beside(grid, file, here)
    with scratch_folder("submit") as folder:
        for package in PACKAGES:
            shutil.copytree(CODE / package, folder / package, ignore=_LEFT_OUT)
        for text in texts:
            (folder / text).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(here / text, folder / text)
        shutil.copyfile(file, folder / file.name)
        yield Package(folder, file.name, grid.name, texts)


@contextmanager
def given_folder(file: Path, folder: Path) -> Iterator[Package]:
    """A folder that is sent as it is, by the rules of its .rayignore and .gitignore.

    InvalidInputError where the file is not in it, or is no grid.
    """
    grid = load_grid(file)
    try:
        within = file.resolve().relative_to(folder.resolve())
    except ValueError:
        raise InvalidInputError(
            f"{file} is not in --working-dir {folder}, which is all that the job sees; put it "
            "there, or leave --working-dir out: the file then travels wherever it lies"
        ) from None
    yield Package(folder, str(within), grid.name)


def _texts_beside(grid: Grid, file: Path, here: Path) -> tuple[str, ...]:
    """Return the relative paths that are to travel. InvalidInputError for all that cannot.

    An absolute path, one that begins with ``~`` and an address are the cluster's to find.
    """
    wrong = [*_lost_places(grid, here), *_lost_store(file)]
    texts = [path for path in _text_paths(grid) if _is_relative(path)]
    wrong += [slip for path in texts if (slip := _text_slip(path, file, here))]
    if wrong:
        raise InvalidInputError("\n".join(f"{file}: {slip}" for slip in wrong))
    size = sum((here / path).stat().st_size for path in texts)
    if size > MOST_BYTES:
        raise InvalidInputError(
            f"{file}: its texts {', '.join(texts)} have {size / 1e6:,.0f} MB, and at most "
            f"{MOST_BYTES / 1e6:.0f} MB travel with a job; put them where all nodes see them, and "
            "write their absolute paths"
        )
    return tuple(texts)


def _text_paths(grid: Grid) -> list[str]:
    """Return the paths of a grid's texts as its file names them, each once."""
    texts = [grid.calibration.text, *(each.text for each in grid.evaluation.perplexity)]
    return list(dict.fromkeys(text.path for text in texts if text.path))


def _lost_places(grid: Grid, here: Path) -> Iterator[str]:
    """Yield what is wrong with relative paths of the database, of models and of benchmarks."""
    uri = grid.tracking.uri
    if _is_relative(uri.removeprefix("sqlite:///")):
        yield f"tracking.uri: {uri!r} is a relative path: {_LOST}, or the address of a server"
    folders = [("models", entry.source) for entry in grid.models]
    if grid.evaluation.benchmarks and grid.evaluation.benchmarks.data:
        folders.append(("evaluation.benchmarks.data", grid.evaluation.benchmarks.data))
    for place, path in folders:
        if _is_relative(path) and (here / path).is_dir():
            yield f"{place}: {path!r} is a relative path, which does not travel: {_LOST}"


def _lost_store(file: Path) -> Iterator[str]:
    """Yield what is wrong with a relative store, which a read grid has made absolute."""
    storage = expand_variables(read_yaml(file), file).get("storage") or {}
    store = str(storage.get("store", "/"))
    if _is_relative(store):
        yield f"storage.store: {store!r} is a relative path: {_LOST}, or an address (s3://...)"


def _is_relative(path: str) -> bool:
    return "://" not in path and not path.startswith(("/", "~"))


def _text_slip(path: str, file: Path, here: Path) -> str:
    """Return what is wrong with a text's relative path; "" for nothing."""
    if not (here / path).resolve().is_relative_to(here.resolve()):
        return (
            f"the text {path!r} lies outside of {here}, and only what is in it travels with a job; "
            "submit from a folder that holds it, or write an absolute path that all nodes see"
        )
    if (here / path).is_file():
        return ""
    beside = (file.parent / path).is_file()
    cure = (
        f"it is beside the grid file: submit from {file.parent.resolve()}"
        if beside
        else "relative paths start from the folder that you submit from"
    )
    return f"there is no text {path!r} in {here}; {cure}, or write an absolute path"
