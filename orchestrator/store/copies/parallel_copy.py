"""Folders to and from an object store: several files, and parts of large ones, at a time.

``pyarrow.fs.copy_files`` reads a file by requests of 1 MiB one after another, and keeps all that
was read of one and not yet sent in memory. Knows no stages.
"""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pyarrow import fs as pafs

# Parts of files that are read at a time, and the bytes of one: 128 MiB of memory.
READS, READ_BYTES = 8, 16 * 2**20
# Files that are sent at a time, and what is read of one before it is sent, which pyarrow does in
# parts of 10 MiB side by side: 160 MiB of memory.
WRITES, WRITE_BYTES = 4, 40 * 2**20

# Calls its argument, again where the store gave no answer.
Patiently = Callable[[Callable[[], None]], None]


def sizes(fs: Any, folder: str) -> dict[str, int]:
    """Return the bytes of each file in a folder and those in it, by its path in the folder.

    FileNotFoundError where there are none.
    """
    found = fs.get_file_info(pafs.FileSelector(folder, recursive=True))
    return {
        info.path[len(folder) + 1 :]: int(info.size)
        for info in found
        if info.type == pafs.FileType.File
    }


def download(
    fs: Any, folder: str, files: Mapping[str, int], target: Path, patiently: Patiently
) -> None:
    """Copy files of ``folder``, known by their ``sizes``, to the new folder ``target``."""
    with _at_once(READS) as start:
        for name, size_bytes in files.items():
            local = target / name
            local.parent.mkdir(parents=True, exist_ok=True)
            local.touch()
            os.truncate(local, size_bytes)
            source = _Source(fs, f"{folder}/{name}", local, size_bytes)
            for begin in range(0, size_bytes, READ_BYTES):
                start(partial(patiently, partial(source.read, begin)))


class _Source:
    """A file that is read in parts, several of them at a time."""

    def __init__(self, fs: Any, path: str, local: Path, size_bytes: int) -> None:
        self._fs, self._path, self._local, self._size_bytes = fs, path, local, size_bytes

    @cached_property
    def _file(self) -> Any:
        return self._fs.open_input_file(self._path)

    def read(self, begin: int) -> None:
        """Read the part from byte ``begin`` on into the local file. OSError: it is cut short."""
        size_bytes = min(READ_BYTES, self._size_bytes - begin)
        data = self._file.read_at(size_bytes, begin)
        if len(data) != size_bytes:
            raise OSError(errno.EIO, f"{self._path} was cut short while it was read")
        with self._local.open("r+b") as target:
            target.seek(begin)
            target.write(data)


def upload(fs: Any, source: Path, folder: str, patiently: Patiently) -> None:
    """Copy all files of a local folder to ``folder``, the largest first."""
    files = [path for path in source.rglob("*") if path.is_file()]
    with _at_once(WRITES) as start:
        for path in sorted(files, key=lambda path: -path.stat().st_size):
            to = f"{folder}/{path.relative_to(source).as_posix()}"
            start(partial(patiently, partial(_send, fs, path, to)))


def _send(fs: Any, path: Path, to: str) -> None:
    with path.open("rb") as source, fs.open_output_stream(to) as target:
        while data := source.read(WRITE_BYTES):
            target.write(data)
            target.flush()  # waits for what is on its way: no more is read before


@contextmanager
def _at_once(threads: int) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Yield what takes work for so many threads. All of it is done at the end.

    Raises the first error, once what was begun has ended; the rest is not begun. Each thread has
    the patience of this one.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="copy") as pool:
        futures = []

        def start(work: Callable[[], None]) -> None:
            futures.append(pool.submit(copy_context().run, work))

        try:
            yield start
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            for future in futures:
                future.cancel()
        wait(futures)
    for future in futures:
        if not future.cancelled():
            future.result()
