"""The stored weights of a checkpoint, one tensor at a time, from a folder or the hub.

Safetensors only; knows no model.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from trsp.checkpoints.model_source import local_folder
from trsp.checkpoints.weight_headers import INDEX, SINGLE, no_safetensors, unreadable_weights
from trsp.errors import first_line
from trsp.outages import may_pass


class StoredWeights:
    """The tensors of a checkpoint, by the names they have there.

    InvalidInputError where the checkpoint has no safetensors, lacks a file, or one is damaged;
    UnreachableError where the hub or the file system gives no answer.
    """

    def __init__(self, source: str, revision: str | None = None) -> None:
        """Find all files, and download them from the hub, before any is read."""
        self._source, self._revision = source, revision
        self._path_of = self._find()

    @property
    def names(self) -> Sequence[str]:
        """The names of all tensors."""
        return tuple(self._path_of)

    def read(self, name: str) -> Tensor:
        """Return a view of the mapped file, on the CPU, not to be written to.

        Only what is then copied from it is read from disk. The file is mapped for as long as the
        view lives, and no longer: what was read stops counting as this process's memory.
        """
        with self._open(self._path_of[name]) as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    def _find(self) -> dict[str, Path]:
        """The file that holds each tensor, by the tensor's name."""
        single = self._fetch(SINGLE)
        if single is not None:
            with self._open(single) as file:
                return dict.fromkeys(file.keys(), single)
        index = self._fetch(INDEX)
        if index is None:
            raise no_safetensors(self._source)
        file_of: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        path_of: dict[str, Path | None] = {}
        for file in sorted(set(file_of.values())):
            path_of[file] = self._fetch(file)
        if missing := [file for file, path in path_of.items() if path is None]:
            raise unreadable_weights(self._source, f"{missing[0]} is missing")
        return {name: path for name, file in file_of.items() if (path := path_of[file]) is not None}

    def _open(self, path: Path) -> Any:
        try:
            return safe_open(path, "pt")
        except (OSError, SafetensorError) as error:
            raise unreadable_weights(self._source, f"{path.name}: {error}", error) from error

    def _fetch(self, file: str) -> Path | None:
        """The local path of one of the checkpoint's files; None where it has no such file.

        It is downloaded once per machine.
        """
        folder = local_folder(self._source)
        if folder is not None:
            return folder / file if (folder / file).is_file() else None
        try:
            return Path(hf_hub_download(self._source, file, revision=self._revision))
        except EntryNotFoundError as error:
            if may_pass(error):  # it is not in the cache, and the hub gave no answer
                raise unreadable_weights(self._source, first_line(error), error) from error
            return None
        except (OSError, ValueError) as error:
            raise unreadable_weights(self._source, first_line(error), error) from error
