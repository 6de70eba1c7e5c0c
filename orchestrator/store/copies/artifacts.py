"""Artifacts of stages, as folders of this machine: where they are written, sent and read.

In a store on a file system these are the store's own, else this node's. Knows no stages: a folder
of artifacts is known by its path in the store, which is never used twice.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Protocol

from orchestrator.scratch import scratch_folder
from orchestrator.store.copies.node_cache import (
    NewEntry,
    NodeCache,
    cache_limit_bytes,
    entry_name,
    node_cache,
)

NOT_NEEDED = "README.md"  # the model card: for people, written anew in the store as scores come


class Files(Protocol):
    """What is needed of a store's files. Paths are relative to its root."""

    uri: str
    is_local: bool

    def local_path(self, path: str) -> Path:
        """The path on this machine, in a store that is local."""

    def sizes(self, path: str) -> dict[str, int]:
        """The bytes of each file in a folder. FileNotFoundError where there are none."""

    def download(self, path: str, local: Path, files: Mapping[str, int]) -> None:
        """Copy files of a folder to this machine."""

    def upload(self, local: Path, path: str) -> None:
        """Copy a folder of this machine to ``path``."""


class Artifacts:
    """Folders of artifacts of one store, by their paths in it."""

    def __init__(self, files: Files) -> None:
        """InvalidInputError: the cache is to have a limit that is none."""
        if not files.is_local:
            cache_limit_bytes()
        self._files = files
        self._entries: dict[str, NewEntry] = {}

    @cached_property
    def _cache(self) -> NodeCache | None:
        return node_cache()

    def _name(self, path: str) -> str:
        return entry_name(self._files.uri, path)

    @contextmanager
    def local(self, path: str) -> Iterator[Path]:
        """The folder itself; of an object store all but its model card, from the cache or anew."""
        if self._files.is_local:
            yield self._files.local_path(path)
            return
        wanted = _Wanted(self._files, path)
        if self._cache is not None:
            with self._cache.folder(self._name(path), wanted.bytes, wanted.fetch) as cached:
                if cached is not None:
                    yield cached
                    return
        with scratch_folder("download") as folder:
            wanted.fetch(folder)
            yield folder

    @contextmanager
    def staging(self, path: str, committed: Callable[[], bool]) -> Iterator[Path]:
        """A new local folder that belongs at ``path``; of a local store, it lies there.

        After an error it is gone, unless it may be ``committed``. In any case so is one that is to
        be sent, unless ``keep`` was called for it.
        """
        if not self._files.is_local:
            with self._staged(path) as folder:
                yield folder
            return
        folder = self._files.local_path(path)
        folder.mkdir(parents=True)
        try:
            yield folder
        except BaseException:
            if not committed():
                shutil.rmtree(folder, ignore_errors=True)
            raise

    @contextmanager
    def _staged(self, path: str) -> Iterator[Path]:
        """A new folder of this node, if possible one that can stay in its cache."""
        if self._cache is not None:
            with self._cache.new(self._name(path)) as entry:
                if entry is not None:
                    self._entries[path] = entry
                    try:
                        yield entry.folder
                    finally:
                        del self._entries[path]
                    return
        with scratch_folder("staging") as folder:
            yield folder

    def send(self, folder: Path, path: str) -> None:
        """Bring what was staged to ``path``, where it does not lie there: all of it is then."""
        if not self._files.is_local:
            self._files.upload(folder, path)

    def keep(self, path: str) -> None:
        """Let what is staged for ``path`` stay on this node, where there is room for it."""
        if (entry := self._entries.get(path)) is not None:
            entry.keep()

    def forget(self, path: str) -> None:
        """Let go of what this node has of a folder that is gone from the store."""
        if not self._files.is_local and self._cache is not None:
            self._cache.forget(self._name(path))


class _Wanted:
    """What is to be downloaded of a folder of artifacts; the store is asked when it must be."""

    def __init__(self, files: Files, path: str) -> None:
        self._files, self._path = files, path

    @cached_property
    def _sizes(self) -> dict[str, int]:
        sizes = self._files.sizes(self._path)
        return {name: size_bytes for name, size_bytes in sizes.items() if name != NOT_NEEDED}

    def bytes(self) -> int:
        return sum(self._sizes.values())

    def fetch(self, folder: Path) -> None:
        self._files.download(self._path, folder, self._sizes)
