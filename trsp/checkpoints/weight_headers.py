"""What the stored weights of a folder say of themselves, without reading any: names and shapes.

A safetensors file begins with 8 bytes, the length of its header, and the header, JSON of every
tensor's shape and place; its size follows from that. No torch; knows no model.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trsp.errors import InvalidInputError, UnreachableError
from trsp.outages import may_pass

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_LENGTH_BYTES = 8  # of the header's length
_LONGEST_HEADER = 100_000_000  # bytes: the format's own limit
_CURE = (
    "pickled weights are not read, since they can run any code: load a model that you trust once "
    "with transformers, save it with save_pretrained, and give that folder"
)
_PICKLES = ("*.bin", "*.pt", "*.pth")

Shapes = Mapping[str, tuple[int, ...]]


def stored_shapes(source: str, folder: Path, *, partial: bool = False) -> Shapes:
    """Return the shapes of all stored tensors in a folder, by the names they are stored by.

    ``source`` names the model in messages. ``partial``: the folder is a cache that may hold a part
    of the checkpoint; what is not there is left out. InvalidInputError: there are no safetensors,
    or one is missing, cut short or damaged.
    """
    files = _files(source, folder, partial)
    shapes: dict[str, tuple[int, ...]] = {}
    for file, listed in files.items():
        path = folder / file
        if not path.is_file():
            if partial:
                continue
            raise unreadable_weights(source, f"{INDEX} names {file}, which is missing")
        stored = _header_shapes(source, path)
        if lacking := sorted(listed - stored.keys()):
            raise unreadable_weights(
                source, f"{INDEX} says that {file} holds {lacking[0]}, it does not"
            )
        shapes |= {name: stored[name] for name in listed} if listed else stored
    return shapes


def is_whole(folder: Path) -> bool:
    """Whether every file of the folder's stored weights is there."""
    if (folder / SINGLE).is_file():
        return True
    index = folder / INDEX
    return index.is_file() and all((folder / file).is_file() for file in _listed("", index))


def _files(source: str, folder: Path, partial: bool) -> dict[str, frozenset[str]]:
    """Return the files of weights, and the tensors that the index says are in each.

    No tensors for a file that no index lists: it is the only one.
    """
    if (folder / SINGLE).is_file():
        return {SINGLE: frozenset()}
    if (folder / INDEX).is_file():
        return _listed(source, folder / INDEX)
    if partial:
        return {}
    raise no_safetensors(source, _cure(folder))


def no_safetensors(source: str, cure: str = "") -> InvalidInputError:
    """Return the refusal of a model that has no weights, or none but pickles.

    ``cure``: what to do, where more is known than that.
    """
    return InvalidInputError(f"model {source!r} has no *.safetensors; {cure or _CURE}")


def _cure(folder: Path) -> str:
    """Return what to do about a folder without weights that can be read."""
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if others:
        return f"of that name: {others[0]} is there, {SINGLE} or {INDEX} is wanted"
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    came = f" ({pickles[0]} is there)" if pickles else ""
    return _CURE.replace("are not read", f"are not read{came}")


def _listed(source: str, index: Path) -> dict[str, frozenset[str]]:
    """Return the tensors of every file that an index names."""
    try:
        file_of = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        by_file: dict[str, set[str]] = {}
        for name, file in file_of.items():
            by_file.setdefault(file, set()).add(name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable_weights(source, f"{INDEX} is no index of weights: {error!r}") from None
    return {file: frozenset(names) for file, names in sorted(by_file.items())}


def _header_shapes(source: str, path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes that a file's header lists. InvalidInputError: it is cut or no such file.

    A file that lies in a folder and cannot be opened raises OSError.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES or not 2 <= length <= min(size, _LONGEST_HEADER):
            raise unreadable_weights(source, f"{path.name} has {size} bytes and no whole header")
        encoded = file.read(length)
    try:
        shapes, data_bytes = _parsed(encoded)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise unreadable_weights(source, f"{path.name} has a damaged header") from None
    wanted = _LENGTH_BYTES + length + data_bytes
    if size != wanted:
        raise unreadable_weights(
            source, f"{path.name} has {size} bytes, its header speaks of {wanted}"
        )
    return shapes


def _parsed(encoded: bytes) -> tuple[dict[str, tuple[int, ...]], int]:
    """Return the shapes that a header lists, and how many bytes of data follow it."""
    header: dict[str, Any] = json.loads(encoded)
    header.pop("__metadata__", None)
    ends = [entry["data_offsets"][1] for entry in header.values()]
    return {name: tuple(entry["shape"]) for name, entry in header.items()}, max(ends, default=0)


def unreadable_weights(
    source: str, reason: str, error: Exception | None = None
) -> InvalidInputError | UnreachableError:
    """Return the refusal for this reason; one that may pass where the ``error`` may."""
    refusal = UnreachableError if error and may_pass(error) else InvalidInputError
    return refusal(
        f"the weights of {source!r} cannot be read: {reason}; download or export them again"
    )
