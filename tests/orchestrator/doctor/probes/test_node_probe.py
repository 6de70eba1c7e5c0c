"""What a process finds around itself."""

from pathlib import Path

import pytest

from orchestrator.doctor.findings.facts import Gpu
from orchestrator.doctor.probes.node_probe import gpus_listed, node_state


def test_the_folders_of_a_run_and_of_the_grid_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRSP_CACHE_DIR", raising=False)
    state = node_state([("engine.nvme_path", str(tmp_path / "not" / "there" / "yet"))])
    assert [space.name for space in state.space] == [
        "temp folder",
        "TRSP_HOME",
        "HF cache",
        "engine.nvme_path",
    ]
    assert all(space.free_bytes > 0 for space in state.space)


def test_a_cache_of_the_node_that_has_a_folder_of_its_own_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRSP_CACHE_DIR", str(tmp_path / "cache"))
    assert [space.path for space in node_state().space if space.name == "TRSP_CACHE_DIR"] == [
        str(tmp_path / "cache")
    ]


def test_gpus_are_read_off_the_drivers_list() -> None:
    listed = "NVIDIA H100 80GB HBM3, 550.54.15, 81559, 80994\nNVIDIA L4, 550.54.15, [N/A], [N/A]\n"
    assert gpus_listed(listed) == (
        Gpu("NVIDIA H100 80GB HBM3", "550.54.15", 81559 * 2**20, 80994 * 2**20),
        Gpu("NVIDIA L4", "550.54.15", 0, 0),
    )
