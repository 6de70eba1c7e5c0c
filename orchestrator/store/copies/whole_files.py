"""Whole small files of any file system that pyarrow knows. Knows no root and no patience."""

import uuid
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pyarrow import fs as pafs

_ONE_REQUEST = "allow_delayed_open"


def lean(uri: str) -> str:
    """Return an address by which pyarrow writes a small file of S3 by one request, not by three."""
    address = urlsplit(uri)
    if address.scheme != "s3" or _ONE_REQUEST in parse_qs(address.query):
        return uri
    return f"{uri}{'&' if address.query else '?'}{_ONE_REQUEST}=true"


def list_folder(fs: Any, path: str, below: bool = False) -> list[Any]:
    """What is known of each file and folder in a folder; empty where there is no such folder.

    With all that is ``below`` these, if asked for.
    """
    try:
        selector = pafs.FileSelector(path, allow_not_found=True, recursive=below)
        return list(fs.get_file_info(selector))
    except FileNotFoundError:  # it was made, or removed, while pyarrow looked
        return []


def is_local(fs: Any) -> bool:
    """Whether it is the file system of this machine."""
    return isinstance(fs, pafs.LocalFileSystem)


def write_file(fs: Any, path: str, data: bytes) -> None:
    """Write a file whole or not at all: object stores commit on close, file systems on rename."""
    if not is_local(fs):
        with fs.open_output_stream(path) as stream:
            stream.write(data)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    temporary.write_bytes(data)
    temporary.replace(target)


def read_file(fs: Any, path: str) -> bytes | None:
    """The content of a file; None where there is none."""
    try:
        with fs.open_input_stream(path) as stream:
            return bytes(stream.read())
    except FileNotFoundError:
        return None
