"""Names for the content of local files: sha256, remembered by path, size and modification time.

Knows no model or text.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from orchestrator.grid.locations import trsp_home
from trsp.data.texts import file_sha256


def files_fingerprint(root: Path, files: Iterable[Path], memo: Path | None = None) -> str:
    """Return the sha256 of the names (relative to ``root``) and contents of files, in any order.

    Each file is read once: ``memo``, a JSON file, spares reading one whose path, size and
    modification time are as before. It is a cache only: damaged, it is ignored; not writable, it is
    not written. By default it lies in ``trsp_home()``.
    """
    memo = memo or trsp_home() / "fingerprints.json"
    known = _load(memo)
    fresh = dict(known)
    whole = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.relative_to(root).as_posix()):
        digest = _file_digest(file, fresh)
        whole.update(f"{file.relative_to(root).as_posix()}\0{digest}\n".encode())
    if fresh != known:
        _save(memo, fresh)
    return whole.hexdigest()


def unread_bytes(files: Iterable[Path], memo: Path | None = None) -> int:
    """Return how many bytes a fingerprint of these files would read: of those not remembered."""
    known = _load(memo or trsp_home() / "fingerprints.json")
    return sum(file.stat().st_size for file in files if _remembered(file, known) is None)


def _file_digest(file: Path, known: dict[str, list[object]]) -> str:
    """Return the sha256 of a file, out of ``known`` if it is there; else it is added."""
    digest = _remembered(file, known)
    if digest is None:
        stat, digest = file.stat(), file_sha256(file)
        known[str(file.resolve())] = [stat.st_size, stat.st_mtime_ns, digest]
    return digest


def _remembered(file: Path, known: dict[str, list[object]]) -> str | None:
    """Return the sha256 of a file that is as it was when that was found out; else None."""
    stat, seen = file.stat(), known.get(str(file.resolve()))
    if isinstance(seen, list) and len(seen) == 3 and seen[:2] == [stat.st_size, stat.st_mtime_ns]:
        return str(seen[2])
    return None


def _load(memo: Path) -> dict[str, list[object]]:
    """Return the ``[size in bytes, time in ns, sha256]`` of files by path; empty if unreadable."""
    try:
        known = json.loads(memo.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _save(memo: Path, known: dict[str, list[object]]) -> None:
    """Write the memo as a whole, if it can be written."""
    with contextlib.suppress(OSError):
        write_whole(memo, json.dumps(known))


def write_whole(file: Path, text: str) -> None:
    """Write a file of this machine whole or not at all; its folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=file.name)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(temporary, file)
