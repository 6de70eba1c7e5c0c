"""Names of content: every file is read once, and a damaged memo is no harm."""

import json
import os
from pathlib import Path

import pytest

from orchestrator.stages.fingerprints import files_fingerprint


def test_a_file_is_read_once(tmp_path: Path) -> None:
    root, memo = tmp_path / "files", tmp_path / "memo.json"
    root.mkdir()
    file = root / "a.bin"
    file.write_bytes(b"one")
    first = files_fingerprint(root, [file], memo)
    stat = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (
        files_fingerprint(root, [file], memo) == first
    )  # not read again: same path, size and time
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert files_fingerprint(root, [file], memo) != first


@pytest.mark.parametrize("damage", ["", "[1]", '{"x": 3}', "{"])
def test_a_damaged_memo_is_no_harm(tmp_path: Path, damage: str) -> None:
    file, memo = tmp_path / "a.bin", tmp_path / "memo.json"
    file.write_bytes(b"one")
    first = files_fingerprint(tmp_path, [file], memo)
    memo.write_text(damage, encoding="utf-8")
    assert files_fingerprint(tmp_path, [file], memo) == first
    memo.write_text(json.dumps({str(file): "nonsense"}), encoding="utf-8")
    assert files_fingerprint(tmp_path, [file], memo) == first
