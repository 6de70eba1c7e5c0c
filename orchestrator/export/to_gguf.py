"""A checkpoint as one GGUF file, whole or not at all. Needs the package gguf."""

import uuid
from pathlib import Path

from orchestrator.export.checkpoint import Checkpoint
from trsp.errors import InvalidInputError


def write_to(checkpoint: Checkpoint, file: Path) -> int:
    """Write a checkpoint's model and tokenizer as a new GGUF file; return its bytes.

    InvalidInputError where something is there already, the place cannot be written, the package is
    missing, or GGUF cannot say what the model or its tokenizer is.
    """
    if file.exists():
        raise InvalidInputError(f"{file} is there already; give --gguf a file that is not")
    try:
        from orchestrator.export.gguf_file.write import write_gguf
    except ModuleNotFoundError as error:
        if error.name != "gguf":
            raise
        raise InvalidInputError(
            "--gguf needs the package gguf, which is not installed; pip install 'gguf>=0.19'"
        ) from None
    draft = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_gguf(checkpoint.folder, checkpoint.cell.cell.name, draft)
        draft.rename(file)
    except OSError as error:
        raise InvalidInputError(
            f"{file} cannot be written: {error}; give --gguf a place of yours with room"
        ) from error
    finally:
        if draft.exists():
            draft.unlink()
    return file.stat().st_size
