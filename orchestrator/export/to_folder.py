"""A checkpoint as a folder that AutoModelForCausalLM loads, whole or not at all."""

import shutil
import uuid
from pathlib import Path

from orchestrator.export.checkpoint import Checkpoint
from trsp.errors import InvalidInputError


def copy_to(checkpoint: Checkpoint, folder: Path) -> int:
    """Copy a checkpoint and its card to a new folder; return the bytes of all its files.

    InvalidInputError where something is there already, or the place cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInputError(f"{folder} is there already; give --to a folder that is not")
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    try:
        _write(checkpoint, draft)
        draft.rename(folder)
    except OSError as error:
        raise InvalidInputError(
            f"{folder} cannot be written: {error}; give --to a place of yours with room"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _write(checkpoint: Checkpoint, draft: Path) -> None:
    draft.mkdir(parents=True)
    for name, path in checkpoint.files().items():
        target = draft / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (draft / "README.md").write_text(checkpoint.card, encoding="utf-8")
