"""Where a model lies, a local folder or the hub, and its config.json.

A source is written as a folder's path or a hub id (``owner/name`` or ``name``). No torch, no
transformers: a plan needs no more.
"""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from trsp.errors import InvalidInputError, UnreachableError, first_line
from trsp.outages import may_pass


def local_folder(source: str) -> Path | None:
    """The folder that ``source`` names, or None for a hub id.

    InvalidInputError for a path where no folder is.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if _looks_like_path(source) or path.exists() or not source.strip():
        raise InvalidInputError(
            f"model folder {source!r} does not exist; give a folder with config.json and "
            "safetensors, or a hub id (owner/name)"
        )
    return None


def _looks_like_path(source: str) -> bool:
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or "\\" in source


def read_config(source: str, revision: str | None = None) -> dict[str, Any]:
    """The config.json of a model as it is written there.

    InvalidInputError where it is missing or not JSON, UnreachableError where the hub or the file
    system gives no answer.
    """
    folder = local_folder(source)
    path = _hub_config(source, revision) if folder is None else folder / "config.json"
    if not path.is_file():
        raise InvalidInputError(
            f"model folder {source!r} has no config.json; "
            "give the folder that save_pretrained wrote"
        )
    return _parsed(path)


def _parsed(path: Path) -> dict[str, Any]:
    """The JSON object that the file holds. InvalidInputError where it holds none."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInputError(
            f"{path} is not valid JSON ({error}); download or export the model again"
        ) from error
    if not isinstance(config, dict):
        raise InvalidInputError(
            f"{path} holds a {type(config).__name__}, not an object; "
            "download or export the model again"
        )
    return config


def _hub_config(source: str, revision: str | None) -> Path:
    try:
        return Path(hf_hub_download(source, "config.json", revision=revision))
    except (OSError, ValueError, EntryNotFoundError) as error:
        refusal = UnreachableError if may_pass(error) else InvalidInputError
        raise refusal(
            f"model {source!r} (revision {revision or 'main'}) is no local folder and could not be "
            f"read from the hub: {first_line(error)}; check the name, the network and, for a gated "
            "model, HF_TOKEN"
        ) from error


def source_path(source: str) -> str:
    """``source`` as transformers takes it: ``~`` expanded for a folder, unchanged for a hub id."""
    folder = local_folder(source)
    return source if folder is None else str(folder)
