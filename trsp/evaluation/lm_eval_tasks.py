"""Where lm-eval's tasks come from: the hub, or a folder of JSON lines that stands in for it.

A task has one name and two sources. From DATA/TASK/{train,validation,test}.jsonl we write lm-eval
task files that include lm-eval's own (prompt, choices, metrics) and override only where the rows
are. What lm-eval scores is the test split if the folder has one, else the validation split. Knows
no torch and no model, and imports no lm_eval: its task files are found by name.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import yaml

from trsp.errors import InvalidInputError

_NAME = re.compile(rb"""^["']?(?:task|group)["']?:[ \t]*["']?([^\s"'#\[]+)""", re.MULTILINE)
_NO_TASKS = frozenset({"__pycache__", ".ipynb_checkpoints"})
_SPLITS = {"training_split": "train", "validation_split": "validation", "test_split": "test"}


def rows_fingerprint(data: str | None, task: str) -> str:
    """Return ``hub``, or sha256 over a task's rows in the data folder."""
    if data is None:
        return "hub"
    digest = hashlib.sha256()
    for split, path in row_files(Path(data), task).items():
        rows = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{task}/{split}:{rows}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def write_task_overrides(data: str | Path, tasks: Iterable[str], folder: str | Path) -> Path:
    """Write ``folder/TASK.yaml`` for each task.

    Return ``folder``: what ``lm_eval --include_path`` takes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        splits = row_files(Path(data), task)
        files = {split: str(path.resolve()) for split, path in splits.items()}
        override = {
            "include": str(task_file(task)),
            "task": task,
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": files},
            **{setting: split if split in splits else None for setting, split in _SPLITS.items()},
        }
        (folder / f"{task}.yaml").write_text(yaml.safe_dump(override, sort_keys=False))
    return folder


@cache
def task_file(task: str) -> Path:
    """Return lm-eval's own YAML of a task or group.

    InvalidInputError, with near names, when it knows none of that name.
    """
    known: set[str] = set()
    for path in _likely_first(_task_files(), task):
        names = {name.decode() for name in _NAME.findall(Path(path).read_bytes())}
        if task in names:
            return Path(path)
        known |= names
    near = get_close_matches(task, known, n=3)
    raise InvalidInputError(
        f"unknown benchmark task {task!r}: lm-eval has {len(known)}, the nearest are "
        f"{', '.join(near) or 'none'}; `lm_eval ls tasks` lists them"
    )


def _task_files() -> list[str]:
    """Return lm-eval's task files in its own order: where two claim one name, the first wins."""
    package = find_spec("lm_eval")
    assert package is not None, "lm-eval is a dependency of this package"
    assert package.origin is not None, "lm-eval is a package with files"
    return sorted(_yaml_files(Path(package.origin).parent / "tasks"))


def _yaml_files(folder: str | Path) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.is_dir():
            if entry.name not in _NO_TASKS:
                yield from _yaml_files(entry.path)
        elif entry.name.endswith(".yaml"):
            yield entry.path


def _likely_first(paths: list[str], task: str) -> list[str]:
    """Return ``paths`` with those first that hold the first word of ``task``, else in order.

    A task mostly lives under its first word (arc_easy: arc/): this saves reading 14 000 files for a
    name that exists.
    """
    word = task.split("_")[0]
    return sorted(paths, key=lambda path: word not in path)


def row_files(data: Path, task: str) -> dict[str, Path]:
    """Return split name -> its file, for every .jsonl of DATA/TASK.

    InvalidInputError: there is neither a validation nor a test split.
    """
    folder = _task_folder(data, task)
    splits = {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
    if not splits.keys() & {"validation", "test"}:
        raise InvalidInputError(
            f"benchmark {task!r}: {folder} holds neither validation.jsonl nor test.jsonl to score"
        )
    return splits


def _task_folder(data: Path, task: str) -> Path:
    """Return DATA/TASK. InvalidInputError, which names the tasks that are there: there is none."""
    folder = data / task
    if not folder.is_dir():
        there = sorted(path.name for path in data.glob("*") if path.is_dir())
        raise InvalidInputError(
            f"benchmark {task!r}: there is no folder {folder}; the data folder holds "
            f"{', '.join(there) or 'no tasks'}; add TASK/validation.jsonl or leave out "
            "benchmarks.data to read the hub"
        )
    return folder
