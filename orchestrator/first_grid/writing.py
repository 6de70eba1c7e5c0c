"""Writes a grid file once it is known to work: checked, executable, and never over another."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.grid.schema import load_grid
from orchestrator.stages.resolve import Resolved, resolve_offline
from trsp.errors import InvalidInputError


def write_grid(content: str, target: Path, *, force: bool = False) -> None:
    """Write a grid file that may be executed.

    InvalidInputError where there is one already, unless ``force``, or no folder for it.
    """
    if target.exists() and not force:
        raise InvalidInputError(f"{target} exists; give another by --out, or --force to replace it")
    if not target.parent.is_dir():
        raise InvalidInputError(f"there is no folder {target.parent}; make it, or give another")
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    partial.write_text(content, encoding="utf-8")
    partial.chmod(0o755)
    partial.replace(target)


def checked(content: str, name: str) -> Resolved:
    """Return the grid that such a file makes, looked up without the network.

    ``name``: the file's. InvalidInputError for whatever can be known not to work.
    """
    with TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_text(content, encoding="utf-8")
        resolved = resolve_offline(load_grid(file))
    resolved.expansion.require(name)
    return resolved
