"""What a grid must know of a model before anything starts: its layers and the name of its content. Loads no weights.

A local folder is named by the hash of its files, a hub model by its commit.
"""

import json
import re
from collections.abc import Mapping
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
    """The model as it is now. InvalidInputError when it is missing, out of reach or of a kind that cannot be pruned."""
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
    """What can be known without the network and without reading weights; None when even the number of layers cannot.

    The fingerprint only tells models of one grid apart: stage keys made with it are good for counting, not for looking up.
    """
    unread = f"unread:{entry.source}@{entry.revision}"
    config = _config_at_hand(entry)
    if config is not None:
        return _info(entry, config, entry.source, entry.revision, unread)
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
    try:
        families.check_supported(config)
    except InvalidInputError as error:
        raise type(error)(f"model {entry.source!r}: {error}") from None
    layers = families.layer_count(config)
    if entry.layers not in (None, layers):
        raise InvalidInputError(
            f"model {entry.source!r} has {layers} layers, but the grid says layers: {entry.layers}; correct it or leave it out"
        )
    types, shape = families.layer_types(config), model_shape(config)
    return ModelInfo(entry.name, source, revision, fingerprint, layers, types, shape)


def _folder_fingerprint(entry: ModelEntry, folder: Path) -> str:
    files = {file for pattern in _CONTENT for file in folder.glob(pattern) if file.is_file()}
    if not any(file.suffix == ".safetensors" for file in files):
        raise InvalidInputError(
            f"model {entry.source!r} has no *.safetensors; pickled weights are not read: save it with save_pretrained"
        )
    return f"sha256:{files_fingerprint(folder, files)}"


def _hub_commit(entry: ModelEntry) -> str:
    """The commit that the revision means now: a commit as it is, else asked of the hub, else of its local cache."""
    if entry.revision and _COMMIT.fullmatch(entry.revision):
        return entry.revision
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.errors import HTTPError as HttpError  # type: ignore[attr-defined]  # of its HTTP library

    about = f"model {entry.source!r} (revision {entry.revision or 'main'})"
    try:
        commit = (
            HfApi().model_info(entry.source, revision=entry.revision, timeout=_HUB_TIMEOUT_S).sha
        )
    except GatedRepoError:
        raise InvalidInputError(
            f"{about} is gated; accept its terms on the hub and set HF_TOKEN"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise InvalidInputError(
            f"{about} is neither a local folder nor on the hub; check the name and HF_TOKEN"
        ) from None
    except (OSError, HttpError) as error:
        commit = _cached_commit(entry)
        if commit is None:
            raise InvalidInputError(
                f"{about} is no local folder, the hub cannot be reached ({error}) and it was never downloaded here; "
                "check the name and the network, or give a local folder"
            ) from None
    assert commit is not None  # the hub names a commit for every revision
    return commit


def _cached_commit(entry: ModelEntry) -> str | None:
    from huggingface_hub import constants

    folder = f"models--{entry.source.replace('/', '--')}"
    ref = Path(constants.HF_HUB_CACHE) / folder / "refs" / (entry.revision or "main")
    return ref.read_text(encoding="utf-8").strip() if ref.is_file() else None


def _config_at_hand(entry: ModelEntry) -> dict[str, Any] | None:
    """config.json of a local folder or of the hub's local cache; None for a hub model that was never downloaded."""
    from trsp.checkpoints.model_source import local_folder, read_config

    if (folder := local_folder(entry.source)) is not None:
        return read_config(str(folder))
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(entry.source, "config.json", revision=entry.revision)
    if not isinstance(cached, str):
        return None
    config = json.loads(Path(cached).read_text(encoding="utf-8"))
    return config if isinstance(config, dict) else None
