"""The installed versions of libraries, by their metadata alone."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trsp.versions import library_versions


def test_a_version_is_the_one_that_the_library_itself_gives() -> None:
    assert library_versions()["torch"] == torch.__version__


def test_a_library_that_is_absent_is_left_out() -> None:
    assert library_versions(("torch", "no-such-library")).keys() == {"torch"}


def test_of_two_metadata_folders_the_first_on_the_path_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for an import: so a stray copy of a library is seen."""
    shim = tmp_path / "transformers-9.9.9.dist-info"
    shim.mkdir()
    (shim / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 9.9.9\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert library_versions()["transformers"] == "9.9.9"


def test_no_library_is_imported() -> None:
    program = (
        "import sys; from trsp.versions import library_versions; library_versions(); "
        "sys.exit(', '.join({'torch', 'transformers'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, f"imported: {done.stderr}"
