"""Names for the content of local files: sha256, remembered by path, size and modification time. Knows no model or text."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from orchestrator.grid.yaml_file import expand_text
from trsp.data.texts import file_sha256


def trsp_home() -> Path:
    """Where this user's store, database and caches are unless a grid says otherwise: ``$TRSP_HOME`` or ``~/.trsp``."""
    return Path(expand_text("${TRSP_HOME:-~/.trsp}")).absolute()


def files_fingerprint(root: Path, files: Iterable[Path], memo: Path | None = None) -> str:
    """sha256 over the names (relative to ``root``) and contents of the files, whatever their order; reads each once.

    ``memo``: a JSON file that spares reading a file whose path, size and modification time are as before. It is a
    cache only: damaged, it is ignored; not writable, it is not written.
    """
    memo = memo or trsp_home() / "fingerprints.json"
    known = _load(memo)
    fresh = dict(known)
    whole = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.relative_to(root).as_posix()):
        digest = _remembered(file, fresh)
        whole.update(f"{file.relative_to(root).as_posix()}\0{digest}\n".encode())
    if fresh != known:
        _save(memo, fresh)
    return whole.hexdigest()


def _remembered(file: Path, known: dict[str, list[object]]) -> str:
    stat = file.stat()
    seen = known.get(str(file.resolve()))
    if isinstance(seen, list) and len(seen) == 3 and seen[:2] == [stat.st_size, stat.st_mtime_ns]:
        return str(seen[2])
    digest = file_sha256(file)
    known[str(file.resolve())] = [stat.st_size, stat.st_mtime_ns, digest]
    return digest


def _load(memo: Path) -> dict[str, list[object]]:
    try:
        known = json.loads(memo.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _save(memo: Path, known: dict[str, list[object]]) -> None:
    with contextlib.suppress(OSError):
        memo.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=memo.parent, prefix=memo.name)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(known, stream)
        os.replace(temporary, memo)
