"""Files under a store's root: on a local disk, a shared file system, S3 or GCS.

It does not know what the files mean.
"""

import json
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pyarrow import fs as pafs

from orchestrator.coordination.exclusive import creator_of
from orchestrator.redact import redact
from orchestrator.store.copies import parallel_copy
from orchestrator.store.copies.whole_files import (
    is_local,
    lean,
    list_folder,
    read_file,
    write_file,
)
from orchestrator.store.patience import patiently
from trsp.errors import StoreError, UnreachableError
from trsp.outages import may_pass


class UnreadableRecordError(StoreError):
    """A file of the store holds something else than what belongs there, or may not be read.

    Final for the stage whose file it is: what cannot be read is never written over.
    """

    def __init__(self, file: str, reason: str) -> None:
        """``file``: its address for people."""
        super().__init__(
            f"{file} cannot be read: {reason}; delete this file and run again: what it stood for "
            "is then computed anew"
        )


class FileFacts(NamedTuple):
    """How large a file is, and when it was written last, in seconds since the epoch."""

    size_bytes: int
    changed: float


class StoreFiles:
    """Files under one root, written whole or not at all. Paths are relative to the root.

    ``uri`` of the root: ``/path``, ``file:///path``, ``s3://bucket/prefix``, ``gs://bucket/prefix``.
    Options of the object store stand in its query:
    ``s3://bucket/prefix?region=eu-west-1&endpoint_override=HOST``.
    Raises StoreError for an address that names no place, UnreachableError where the object store
    does not answer.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        try:
            if "://" in uri:
                self._fs, root = patiently(lambda: pafs.FileSystem.from_uri(lean(self.uri)))
            else:
                self._fs, root = pafs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
            self._root = root.rstrip("/")
            if not self._root:
                raise ValueError("it names no folder or bucket")
        except (OSError, ValueError) as error:
            refusal = UnreachableError if isinstance(error, OSError) else StoreError
            raise refusal(
                redact(
                    f"store {uri!r}: {error}; "
                    "give a folder, s3://bucket/prefix or gs://bucket/prefix"
                )
            ) from error
        self.is_local = is_local(self._fs)
        self._creator = creator_of(self.uri, self._root, getattr(self._fs, "region", ""))

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def address(self, path: str) -> str:
        """The address of ``path`` for people: a local path, or a URI with the root's options.

        Credentials are hidden: whoever opens it has their own.
        """
        if self.is_local:
            return self._full(path)
        before, query, options = self.uri.partition("?")
        return redact(f"{before.partition('://')[0]}://{self._full(path)}{query}{options}")

    def shown(self, path: str) -> str:
        """The address of ``path`` for people: a local path, or a URI without the root's options."""
        return self.address(path).partition("?")[0]

    def local_path(self, path: str) -> Path:
        """The path on this machine; only in a store that is local."""
        assert self.is_local, f"{redact(self.uri)} is not on this machine's file system"
        return Path(self._full(path))

    def check_writable(self) -> None:
        """Write, read back, create and delete a small file. Raises StoreError where that fails.

        So it does where a file can be created twice: no claim would hold there.
        """
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.write(probe, b"trsp")
            if self.read(probe) != b"trsp":
                raise StoreError(
                    f"store {redact(self.uri)!r} does not give back what was written to it"
                )
            if self.create(probe, b"again"):
                raise StoreError(
                    f"store {redact(self.uri)!r} lets two drivers create the same file: give a "
                    "folder, or an object store with conditional writes, in storage.store"
                )
            self.remove_file(probe)
        except OSError as error:
            raise StoreError(
                f"store {redact(self.uri)!r} cannot be written: {redact(error)}; "
                "give a writable folder or bucket in storage.store"
            ) from error

    def write(self, path: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        patiently(lambda: write_file(self._fs, self._full(path), data))

    def create(self, path: str, data: bytes) -> bool:
        """Create a file, whole. Returns False, with nothing done, where one stands there.

        It may be this very one, from an attempt whose answer was lost on the way.
        """
        return patiently(lambda: self._creator.create(path, data))

    def read(self, path: str) -> bytes | None:
        """The content of a file; None where there is none."""
        return patiently(lambda: read_file(self._fs, self._full(path)))

    def write_json(self, path: str, value: Any) -> None:
        """Write a value as JSON, whole or not at all. ValueError: it holds NaN or infinities."""
        self.write(path, json.dumps(value, indent=1, allow_nan=False).encode())

    def read_json(self, path: str) -> Any:
        """The value in a JSON file; None where it is absent, or a power failure left it torn.

        UnreadableRecordError: it is not ours to read. OSError: no answer, or a machine in trouble.
        """
        try:
            data = self.read(path)
        except OSError as error:
            if may_pass(error):
                raise
            raise UnreadableRecordError(self.shown(path), str(error)) from error
        try:
            return json.loads(data) if data else None
        except ValueError:
            return None

    def names(self, path: str) -> list[str]:
        """Names of the files and folders in a folder, sorted, without hidden ones.

        Empty where there is no such folder.
        """
        found = patiently(lambda: list_folder(self._fs, self._full(path)))
        return sorted(info.base_name for info in found if not info.base_name.startswith("."))

    def look_afresh(self, path: str) -> None:
        """Have NFS look anew at a folder, by changing it, for what others just wrote there."""
        if self.is_local:
            with suppress(OSError):
                (probe := Path(self._full(path), f".look-{uuid.uuid4().hex[:8]}")).touch()
                probe.unlink()

    def remove_file(self, path: str) -> None:
        """Delete a file. Raises FileNotFoundError where there is none."""
        patiently(lambda: self._fs.delete_file(self._full(path)))

    def remove_folder(self, path: str) -> None:
        """Delete a folder with all that is in it. Raises FileNotFoundError where there is none."""
        patiently(lambda: self._fs.delete_dir(self._full(path)))

    def upload(self, local: Path, path: str) -> None:
        """Copy a folder of this machine to ``path``."""
        parallel_copy.upload(self._fs, local, self._full(path), patiently)

    def sizes(self, path: str) -> dict[str, int]:
        """Bytes of each file in a folder and below. FileNotFoundError: there is no such folder."""
        return patiently(lambda: parallel_copy.sizes(self._fs, self._full(path)))

    def tree(self, path: str) -> dict[str, FileFacts]:
        """What is known of each file in a folder and below, hidden ones too; empty for none."""
        found = patiently(lambda: list_folder(self._fs, self._full(path), below=True))
        start = len(self._full(path)) + 1
        return {
            info.path[start:]: FileFacts(int(info.size or 0), (info.mtime_ns or 0) / 1e9)
            for info in found
            if info.type == pafs.FileType.File
        }

    def download(self, path: str, local: Path, files: Mapping[str, int]) -> None:
        """Copy files of the folder at ``path``, known by their ``sizes``, to a local folder."""
        parallel_copy.download(self._fs, self._full(path), files, local, patiently)

    def folder(self, path: str) -> "StoreFolder":
        """A folder for those who keep more than whole small files in it."""
        return StoreFolder(self._fs, self._full(path))


class StoreFolder:
    """A folder in a store, as ``trsp.training.snapshots.Folder``.

    Files are streamed, with no local copy. Paths are relative to the folder.
    """

    def __init__(self, fs: Any, root: str) -> None:
        self._fs, self._root = fs, root

    @property
    def local_path(self) -> Path | None:
        """The folder's path on this machine, whether it exists or not; None in an object store."""
        return Path(self._root) if is_local(self._fs) else None

    def names(self) -> list[str]:
        """The names of the folders in this one, in no order."""
        found = patiently(lambda: list_folder(self._fs, self._root))
        return [info.base_name for info in found if info.type == pafs.FileType.Directory]

    def size(self, path: str) -> int | None:
        """Bytes of a file; None where there is none."""
        info = patiently(lambda: self._fs.get_file_info(f"{self._root}/{path}"))
        return int(info.size) if info.type == pafs.FileType.File else None

    def read(self, path: str) -> bytes | None:
        """The content of a file; None where there is none."""
        return patiently(lambda: read_file(self._fs, f"{self._root}/{path}"))

    def write(self, path: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        patiently(lambda: write_file(self._fs, f"{self._root}/{path}", data))

    def open(self, path: str) -> Any:
        """A file to read from anywhere in it (seek, readinto)."""
        return patiently(lambda: self._fs.open_input_file(f"{self._root}/{path}"))

    def create(self, path: str) -> Any:
        """A new file ``NAME/FILE`` to be written in one go; the folder NAME is made if absent."""
        self._fs.create_dir(f"{self._root}/{path.rpartition('/')[0]}")
        return self._fs.open_output_stream(f"{self._root}/{path}")

    def remove(self, name: str) -> None:
        """Delete one of the folders in this one, if it is there."""
        with suppress(FileNotFoundError):
            patiently(lambda: self._fs.delete_dir(f"{self._root}/{name}"))
