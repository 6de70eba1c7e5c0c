"""What a grid must know of a model before anything starts: its layers, and the name of its content.

The content of a model is named by the hash of its files. Those of a hub model are not read: the hub
has hashes of them. Loads no weights.
"""

import fnmatch
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.grid.axes import ModelEntry
from orchestrator.grid.cells import ModelInfo
from orchestrator.stages.fingerprints import files_fingerprint
from orchestrator.stages.hub_files import HubFiles, HubRepo, asked_of_hub, hub_files
from trsp.architecture import families
from trsp.architecture.limits import learned_positions
from trsp.architecture.shape import model_shape, stored_precision
from trsp.errors import InvalidInputError

_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
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


def content_files(folder: Path) -> set[Path]:
    """Return the files in a folder that a checkpoint is made of, whichever of them are there."""
    return {file for pattern in _CONTENT for file in folder.glob(pattern) if file.is_file()}


def model_info(entry: ModelEntry) -> ModelInfo:
    """Return what is known of the model as it is now.

    InvalidInputError when it is missing or of a kind that cannot be pruned; UnreachableError when
    the hub does not answer.
    """
    from trsp.checkpoints.model_source import local_folder, read_config

    folder = local_folder(entry.source)
    if folder is not None:
        folder = folder.absolute()
        config = read_config(str(folder))
        return _info(entry, config, str(folder), None, _folder_fingerprint(entry, folder))
    repo = HubRepo("model", entry.source, entry.revision or "main")
    found = hub_files(repo)
    config = asked_of_hub(repo, lambda: read_config(entry.source, found.commit))
    return _info(entry, config, entry.source, found.commit, _hub_fingerprint(repo, found))


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
    return ModelInfo(
        entry.name,
        source,
        revision,
        fingerprint,
        layers,
        types,
        shape,
        stored_precision=stored_precision(config),
        learned_positions=learned_positions(config),
    )


def _folder_fingerprint(entry: ModelEntry, folder: Path) -> str:
    """Return the hash of a checkpoint's files; InvalidInputError when it has no safetensors."""
    files = content_files(folder)
    if not any(file.suffix == ".safetensors" for file in files):
        raise InvalidInputError(
            f"model {entry.source!r} has no *.safetensors; "
            "pickled weights are not read: save it with save_pretrained"
        )
    return f"sha256:{files_fingerprint(folder, files)}"


def _hub_fingerprint(repo: HubRepo, found: HubFiles) -> str:
    """Return the hash of the names and hashes of the files that a model is made of.

    InvalidInputError when there are no safetensors among them.
    """
    at_top = [name for name in found.files if "/" not in name]
    content = {name for pattern in _CONTENT for name in fnmatch.filter(at_top, pattern)}
    weights = {name for name in content if name.endswith(".safetensors")}
    if not weights:
        raise InvalidInputError(
            f"{repo} has no *.safetensors; pickled weights are not read: convert it, or take "
            "another revision"
        )
    content -= weights - _weights_read(weights)
    lines = "".join(f"{name}\0{found.files[name]}\n" for name in sorted(content))
    return f"hub:{hashlib.sha256(lines.encode()).hexdigest()}"


def _weights_read(weights: set[str]) -> set[str]:
    """Return those files of weights that transformers reads: the whole one, or else the shards.

    A repository may hold the same weights again in other formats.
    """
    whole, shards = {"model.safetensors"} & weights, {*filter(_SHARD.fullmatch, weights)}
    return whole or shards or weights


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
