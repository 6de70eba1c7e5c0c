"""How much of the host is free, as files of the system say it."""

from pathlib import Path

import pytest

from trsp.distributed import host_memory
from trsp.distributed.host_memory import free_host_bytes, has_room

GB = 10**9


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of which 8 GB are free, without containers."""
    monkeypatch.setattr(host_memory, "_MEMINFO", tmp_path / "meminfo")
    moved = [(tmp_path / str(number), *names) for number, (_, *names) in enumerate(GROUPS)]
    monkeypatch.setattr(host_memory, "_GROUPS", moved)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    write(tmp_path / "meminfo", f"MemTotal: 99999 kB\nMemAvailable:  {8 * GB // 1024} kB\n")
    return tmp_path


GROUPS = host_memory._GROUPS


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def container(system: Path, version: int, limit: str, taken: int, files: int) -> None:
    """Put the process in a container of the version of control groups, 2 or 1."""
    folder, limit_file, taken_file, stat = host_memory._GROUPS[0 if version == 2 else 1]
    write(folder / limit_file, f"{limit}\n")
    write(folder / taken_file, f"{taken}\n")
    write(folder / "memory.stat", f"anon 7\n{stat} {files}\nactive_file 9\n")


def test_without_a_container_it_is_what_the_machine_says(system: Path) -> None:
    assert free_host_bytes() == pytest.approx(8 * GB, abs=1024)


@pytest.mark.parametrize("version", [1, 2])
def test_a_containers_limit_counts_less_files_that_nobody_needs(system: Path, version: int) -> None:
    container(system, version, str(4 * GB), taken=3 * GB, files=GB)
    assert free_host_bytes() == 2 * GB


def test_a_container_without_a_limit_is_the_machine(system: Path) -> None:
    container(system, 2, "max", taken=3 * GB, files=0)
    assert free_host_bytes() == pytest.approx(8 * GB, abs=1024)


def test_a_limit_above_what_the_machine_has_says_nothing(system: Path) -> None:
    container(system, 1, str(2**63 - 4096), taken=3 * GB, files=0)
    assert free_host_bytes() == pytest.approx(8 * GB, abs=1024)


def test_where_nothing_is_said_nothing_is_free(system: Path) -> None:
    (system / "meminfo").unlink()
    assert free_host_bytes() == 0
    assert not has_room(1)


def test_half_of_it_may_be_taken(system: Path) -> None:
    assert has_room(int(3.9 * GB))
    assert not has_room(int(4.1 * GB))


def test_by_all_ranks_of_the_host_together(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert has_room(int(1.9 * GB))
    assert not has_room(int(2.1 * GB))
