"""What names the content of a text: the bytes of a file, or the data files of a hub dataset.

A dataset's README counts only by what says which files are loaded; its prose does not. Reads no
documents.
"""

import fnmatch
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from orchestrator.grid.keys import canonical_json
from orchestrator.stages.hub_files import HubFiles, HubRepo, asked_of_hub, hub_files
from trsp.config import TextSource
from trsp.data.text_files import existing_file
from trsp.data.texts import file_sha256
from trsp.errors import InvalidInputError

_CARD = "README.md"
_FRONT_MATTER = re.compile(r"\s*---\s*\n(.*?)\n---\s*(?:\n|$)", re.DOTALL)
# What lies beside data in a repository, and is never read as text.
_NO_DATA = ("*.md", ".git*", "*/.git*", "LICENSE*", "*.png", "*.jpg", "*.svg", "*.pdf", "*.py")


def text_info(text: TextSource) -> tuple[TextSource, str]:
    """Return the text as it is to be loaded, and what names its content.

    A hub dataset is loaded at the commit that is named: its revision becomes that commit. Errors:
    those of ``hub_files``; InvalidInputError for a file that is not there.
    """
    if text.path is not None:
        return text, f"sha256:{file_sha256(existing_file(text, Path(text.path)))}"
    assert text.dataset is not None  # TextSource has exactly one source
    found = hub_files(HubRepo("dataset", text.dataset, text.revision))
    pinned = HubRepo("dataset", text.dataset, found.commit)
    fingerprint = _dataset_fingerprint(text, found, _card_configs(pinned, found))
    return text.model_copy(update={"revision": found.commit}), fingerprint


def _dataset_fingerprint(text: TextSource, found: HubFiles, configs: Sequence[Any]) -> str:
    """Return ``dataset:HASH/CONFIG/SPLIT``: the files a config is read from, and how it says so."""
    asked = [each for each in configs if isinstance(each, dict)]
    asked = [each for each in asked if each.get("config_name") == text.config] or asked
    patterns = [pattern for each in asked for pattern in _patterns(each)]
    files = {
        path: id_
        for path, id_ in found.files.items()
        if _is_data(path) and (not patterns or any(fnmatch.fnmatch(path, p) for p in patterns))
    }
    content = canonical_json({"configs": asked, "files": files})
    digest = hashlib.sha256(content.encode()).hexdigest()
    return f"dataset:{digest}/{text.config or 'default'}/{text.split}"


def _is_data(path: str) -> bool:
    return not any(fnmatch.fnmatch(path, pattern) for pattern in _NO_DATA)


def _patterns(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the patterns of files that a config of a dataset's card is read from.

    ``*`` matches slashes here and not on the hub: rather a file too many than one too few. None
    where it does not say: it is then read from every file.
    """
    folder = PurePosixPath(str(config.get("data_dir") or ""))
    for pattern in _strings(config.get("data_files")):
        yield (folder / pattern).as_posix()
    if config.get("data_dir") and not config.get("data_files"):
        yield f"{folder.as_posix()}/*"


def _strings(data_files: Any) -> Iterator[str]:
    """Yield the paths in ``data_files``: a path, or lists or mappings of splits to paths."""
    if isinstance(data_files, str):
        yield data_files.removeprefix("./")
    elif isinstance(data_files, list):
        for each in data_files:
            yield from _strings(each)
    elif isinstance(data_files, dict):
        values = [data_files["path"]] if "path" in data_files else data_files.values()
        for each in values:
            yield from _strings(each)


def _card_configs(repo: HubRepo, found: HubFiles) -> Sequence[Any]:
    """Return ``configs`` of the front matter of the dataset's README; empty where it has none."""
    if _CARD not in found.files:
        return []
    from huggingface_hub import hf_hub_download

    path = asked_of_hub(
        repo,
        lambda: hf_hub_download(repo.name, _CARD, repo_type="dataset", revision=repo.revision),
    )
    matter = _FRONT_MATTER.match(Path(path).read_text(encoding="utf-8"))
    try:
        card = yaml.safe_load(matter[1]) if matter else None
    except yaml.YAMLError as error:
        raise InvalidInputError(f"{repo}: the head of its {_CARD} is no YAML ({error})") from None
    configs = card.get("configs") if isinstance(card, dict) else None
    return configs if isinstance(configs, list) else []
