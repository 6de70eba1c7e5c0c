"""What a grid must know of a model before anything starts: its layers, and the name of its content.

The content of a local folder is named by the hash of its files, that of a hub model by its commit.
Loads no weights.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.grid.axes import ModelEntry
from orchestrator.grid.cells import ModelInfo
from orchestrator.stages.fingerprints import files_fingerprint
from trsp.architecture import families
from trsp.architecture.shape import model_shape
from trsp.errors import InvalidInputError

_HUB_TIMEOUT_S = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
# What a checkpoint is made of, the tokenizer and the generation settings that come along included.
_CONTENT = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
)


def model_info(entry: ModelEntry) -> ModelInfo:
    """Return what is known of the model as it is now.

    InvalidInputError when it is missing, out of reach or of a kind that cannot be pruned.
    """
    from trsp.checkpoints.model_source import local_folder, read_config

    folder = local_folder(entry.source)
    if folder is not None:
        folder = folder.absolute()
        config = read_config(str(folder))
        return _info(entry, config, str(folder), None, _folder_fingerprint(entry, folder))
    commit = _hub_commit(entry)
    return _info(
        entry, read_config(entry.source, commit), entry.source, commit, f"{entry.source}@{commit}"
    )


def planned_info(entry: ModelEntry) -> ModelInfo | None:
    """Return what can be known of the model without the network and without reading weights.

    None when not even the number of layers can. The fingerprint only tells models of one grid
    apart: stage keys made with it are good for counting, not for looking up.
    """
    unread = f"unread:{entry.source}@{entry.revision}"
    files = files_at_hand(entry)
    if files is not None:
        return _info(entry, files.config, entry.source, entry.revision, unread)
    if entry.layers is not None:
        return ModelInfo(entry.name, entry.source, entry.revision, unread, entry.layers)
    return None


def _info(
    entry: ModelEntry,
    config: Mapping[str, Any],
    source: str,
    revision: str | None,
    fingerprint: str,
) -> ModelInfo:
    """Return the model that a config.json describes.

    InvalidInputError when it cannot be pruned, or has not the layers that the grid says.
    """
    try:
        families.check_supported(config)
    except InvalidInputError as error:
        raise type(error)(f"model {entry.source!r}: {error}") from None
    layers = families.layer_count(config)
    if entry.layers not in (None, layers):
        raise InvalidInputError(
            f"model {entry.source!r} has {layers} layers, but the grid says layers: "
            f"{entry.layers}; correct it or leave it out"
        )
    try:
        types, shape = families.layer_types(config), model_shape(config)
    except KeyError as error:
        raise InvalidInputError(
            f"model {entry.source!r}: its config.json has no {error}; "
            "download or export the model again"
        ) from None
    return ModelInfo(entry.name, source, revision, fingerprint, layers, types, shape)


def _folder_fingerprint(entry: ModelEntry, folder: Path) -> str:
    """Return the hash of a checkpoint's files; InvalidInputError when it has no safetensors."""
    files = {file for pattern in _CONTENT for file in folder.glob(pattern) if file.is_file()}
    if not any(file.suffix == ".safetensors" for file in files):
        raise InvalidInputError(
            f"model {entry.source!r} has no *.safetensors; "
            "pickled weights are not read: save it with save_pretrained"
        )
    return f"sha256:{files_fingerprint(folder, files)}"


def _hub_commit(entry: ModelEntry) -> str:
    """Return the commit that the revision means now.

    A commit is taken as it is; a branch or tag is looked up on the hub, or in the hub's local cache
    when the hub cannot be reached. InvalidInputError when neither knows it.
    """
    if entry.revision and _COMMIT.fullmatch(entry.revision):
        return entry.revision
    # An error of its HTTP library.
    from huggingface_hub.errors import HTTPError as HttpError  # type: ignore[attr-defined]

    try:
        return _current_commit(entry)
    except (OSError, HttpError) as error:
        commit = _cached_commit(entry)
        if commit is None:
            raise InvalidInputError(
                f"{_described(entry)} is no local folder, the hub cannot be reached ({error}) and "
                "it was never downloaded here; check the name and the network, "
                "or give a local folder"
            ) from None
        return commit


def _current_commit(entry: ModelEntry) -> str:
    """Return the commit that the hub names for the revision.

    InvalidInputError when the model is gated or not there; OSError or the HTTP library's error when
    the hub cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        found = HfApi().model_info(entry.source, revision=entry.revision, timeout=_HUB_TIMEOUT_S)
    except GatedRepoError:
        raise InvalidInputError(
            f"{_described(entry)} is gated; accept its terms on the hub and set HF_TOKEN"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise InvalidInputError(
            f"{_described(entry)} is neither a local folder nor on the hub; "
            "check the name and HF_TOKEN"
        ) from None
    assert found.sha is not None  # the hub names a commit for every revision
    return found.sha


def _described(entry: ModelEntry) -> str:
    """Return how messages call a hub model: ``model 'org/name' (revision main)``."""
    return f"model {entry.source!r} (revision {entry.revision or 'main'})"


def _cached_commit(entry: ModelEntry) -> str | None:
    """Return the commit that the revision meant when it was downloaded; None if it never was."""
    from huggingface_hub import constants

    folder = f"models--{entry.source.replace('/', '--')}"
    ref = Path(constants.HF_HUB_CACHE) / folder / "refs" / (entry.revision or "main")
    return ref.read_text(encoding="utf-8").strip() if ref.is_file() else None


@dataclass(frozen=True)
class ModelFiles:
    """A model's files on this machine: a local folder, or a part of it in the hub's cache."""

    folder: Path
    config: Mapping[str, Any]
    partial: bool  # a cache: what is not there can be downloaded


def files_at_hand(entry: ModelEntry, revision: str | None = None) -> ModelFiles | None:
    """Return the files of a local folder or of the hub's local cache.

    ``revision``: the hub's commit where it is known, in place of the entry's. None for a hub model
    that was never downloaded.
    """
    from trsp.checkpoints.model_source import local_folder, read_config

    folder = local_folder(entry.source)
    if folder is not None:
        return ModelFiles(folder, read_config(str(folder)), partial=False)
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(
        entry.source, "config.json", revision=revision or entry.revision
    )
    if not isinstance(cached, str):
        return None
    config = json.loads(Path(cached).read_text(encoding="utf-8"))
    return ModelFiles(Path(cached).parent, config, True) if isinstance(config, dict) else None
