"""The stored weights of a checkpoint, one tensor at a time, from a folder or the hub. Safetensors only; knows no model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from trsp.errors import InvalidInputError
from trsp.sources import local_folder

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


class StoredWeights:
    """The tensors of a checkpoint, by the names they have there.

    InvalidInputError where the checkpoint has no safetensors, lacks a file, or one is damaged.
    """

    def __init__(self, source: str, revision: str | None = None) -> None:
        self._source, self._revision = source, revision
        self._handles: dict[str, Any] = {}
        self._file_of = self._find()

    @property
    def names(self) -> Sequence[str]:
        return tuple(self._file_of)

    def read(self, name: str) -> Tensor:
        """A view of the mapped file, on the CPU: only what is then copied from it is read from disk. Not to be written to."""
        tensor: Tensor = self._open(self._file_of[name]).get_tensor(name)
        return tensor

    def _find(self) -> dict[str, str]:
        """Tensor name -> file name."""
        if self._fetch(SINGLE) is not None:
            return dict.fromkeys(self._open(SINGLE).keys(), SINGLE)
        index = self._fetch(INDEX)
        if index is None:
            raise InvalidInputError(
                f"{self._source!r} has neither {SINGLE} nor {INDEX}; only safetensors can be read shard by shard: load the "
                "model once with transformers and save it with save_pretrained"
            )
        weight_map: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return weight_map

    def _open(self, file: str) -> Any:
        if file not in self._handles:
            path = self._fetch(file)
            if path is None:
                raise self._unreadable(f"{file} is missing")
            try:
                self._handles[file] = safe_open(path, "pt")
            except (OSError, SafetensorError) as error:
                raise self._unreadable(f"{file}: {error}") from error
        return self._handles[file]

    def _unreadable(self, reason: str) -> InvalidInputError:
        return InvalidInputError(f"the weights of {self._source!r} cannot be read: {reason}; download or export them again")

    def _fetch(self, file: str) -> Path | None:
        """The local path of one of the checkpoint's files, downloaded once a machine; None where it has no such file."""
        folder = local_folder(self._source)
        if folder is not None:
            return folder / file if (folder / file).is_file() else None
        try:
            return Path(hf_hub_download(self._source, file, revision=self._revision))
        except EntryNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise self._unreadable(str(error).strip().splitlines()[0]) from error
