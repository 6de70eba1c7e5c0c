"""What names the definition of an lm-eval task: prompts, metrics and code that reads its rows.

Read from lm-eval's files; imports no lm_eval and no torch.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, TemplateError
from jinja2.meta import find_undeclared_variables

from trsp.errors import InvalidInputError
from trsp.evaluation.lm_eval_tasks import task_file

_FUNCTION = "!function"
_WORD = re.compile(r"[A-Za-z_]\w*")
_CODE = re.compile(r"@([0-9a-f]{64})?$")  # a function, as ``resolved_yaml`` writes it
_OPTIONAL = re.compile(r"\bis (not )?defined\b|\bdefault\b")


@cache
def task_definition(task: str) -> dict[str, Any]:
    """Return ``version``, lm-eval's own of the task, and ``definition``, a sha256 of what it is.

    The version is raised by hand, and not at every change that changes scores; so the task's YAML
    counts with all that it includes, and the files of the functions that it names. Of a group that
    is every file in its folder, and the definitions of members that lie elsewhere.
    InvalidInputError for an unknown task.
    """
    return _definition(task_file(task))


def _definition(path: Path) -> dict[str, Any]:
    config = resolved_yaml(path)
    content: list[Any] = [config]
    if isinstance(config.get("task"), list):
        content += [_folder_digest(path.parent), *_members_elsewhere(path, config["task"])]
    text = json.dumps(content, sort_keys=True, default=str)
    metadata = config.get("metadata") or {}
    return {
        "version": metadata.get("version"),
        "definition": hashlib.sha256(text.encode()).hexdigest(),
    }


def resolved_yaml(path: Path) -> dict[str, Any]:
    """Return a task's YAML with what it includes, whose keys yield to its own.

    A function is its name with the sha256 of the file beside the YAML that holds it.
    """
    config = yaml.load(path.read_bytes(), _loader(path.parent))
    if not isinstance(config, dict):
        raise InvalidInputError(f"{path} holds no settings of a task; install lm-eval again")
    included = config.pop("include", [])
    merged: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included]:
        merged |= resolved_yaml(path.parent / name)
    return merged | config


@cache
def columns_of(task: str) -> frozenset[str]:
    """Return the columns that a task reads of every row, as far as its YAML says.

    That is nothing of a group, of what code of its own makes of the rows, and of a template that
    asks whether a column is there. InvalidInputError for an unknown task.
    """
    config = resolved_yaml(task_file(task))
    if isinstance(config.get("task"), list) or "process_docs" in config:
        return frozenset()
    parts = (config.get(name) for name in ("doc_to_text", "doc_to_target", "doc_to_choice"))
    return frozenset(name for part in parts if isinstance(part, str) for name in _columns(part))


def _columns(part: str) -> set[str]:
    """Return the columns in a template; or the only one, for a single word is its name."""
    if _WORD.fullmatch(part):
        return {part}
    if _CODE.search(part) or _OPTIONAL.search(part):
        return set()
    environment = Environment()  # that of lm-eval has more filters, which are no columns
    try:
        names = find_undeclared_variables(environment.parse(part))
    except TemplateError:
        return set()
    return names - environment.globals.keys()


def _loader(folder: Path) -> Any:
    """Return a loader of YAML that reads ``!function`` as text, and runs nothing."""

    class Loader(yaml.SafeLoader):
        """One class per folder: functions are named relative to it."""

    def function(loader: Any, node: Any) -> str:
        name: str = loader.construct_scalar(node)
        file = folder / f"{name.rpartition('.')[0].replace('.', '/')}.py"
        code = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
        return f"{name}@{code}"

    Loader.add_constructor(_FUNCTION, function)
    return Loader


def _folder_digest(folder: Path) -> str:
    """Return the sha256 of the names and contents of all files in a folder and those below."""
    digest = hashlib.sha256()
    for file in _files(folder):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return (
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    )


def _members_elsewhere(group: Path, members: list[Any]) -> Iterator[Any]:
    """Yield the definitions of a group's members that no other file of its folder speaks of.

    Of a tag, which is no task and stands in files all over, lm-eval's own version has to do.
    """
    beside = b"\n".join(file.read_bytes() for file in _files(group.parent) if file != group)
    for member in members:
        name = member if isinstance(member, str) else member.get("task", member.get("group"))
        if isinstance(name, str) and name.encode() not in beside:
            try:
                yield name, task_definition(name)
            except InvalidInputError:
                yield name, version("lm_eval")
