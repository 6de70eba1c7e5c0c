"""Processes where no server is to be had, or none is wanted: they are started plainly."""

import errno
import os
import signal
from pathlib import Path

import pytest

from orchestrator.processes import fresh, kernel, starting
from orchestrator.processes.fresh import Processes
from orchestrator.processes.place import Place
from tests.orchestrator.processes import functions
from tests.orchestrator.processes.conftest import FORKED, LIMIT_S, PLAIN, Caller


def test_a_folder_with_a_long_path_holds_a_server(
    caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRSP_TMPDIR", str(tmp_path / ("long" * 50)))
    assert caller.kind() == FORKED


def test_a_folder_that_others_can_enter_holds_none(caller: Caller) -> None:
    place = Place()
    place.close()
    place.folder.chmod(0o755)
    assert caller.kind() == PLAIN


def test_a_folder_that_cannot_be_made_holds_none(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRSP_TMPDIR", "/proc/nowhere")
    assert caller.kind() == PLAIN


def test_a_server_that_cannot_be_is_not_asked_for_at_every_call(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def fails(*wanted: object) -> None:
        asked.append(wanted)
        raise OSError("it dies of an import")

    monkeypatch.setattr(fresh, "forked", fails)
    assert [caller.kind() for _ in range(3)] == [PLAIN] * 3
    assert len(asked) == fresh.ATTEMPTS
    monkeypatch.setattr(caller.processes, "_plain_until", 0.0)
    assert caller.kind() == PLAIN
    assert len(asked) == 2 * fresh.ATTEMPTS


def test_who_asks_is_told_that_processes_can_be_forked_or_why_they_cannot(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 < caller.processes.forked_within_s(dict(os.environ)) < LIMIT_S
    with pytest.raises(OSError, match="plainly"):
        Processes(caller.preload, forks=False).forked_within_s(dict(os.environ))
    monkeypatch.setenv("TRSP_TMPDIR", "/proc/nowhere")
    with pytest.raises(OSError, match="nowhere"):
        caller.processes.forked_within_s(dict(os.environ))


def test_where_a_full_disk_keeps_a_server_away_processes_are_started_plainly(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(starting, "_run", full)
    assert caller.kind() == PLAIN
    monkeypatch.undo()


def test_who_wants_no_server_gets_none(caller: Caller) -> None:
    caller.processes = Processes(caller.preload, forks=False)
    assert caller.kind() == PLAIN


def test_a_call_that_wants_a_process_with_nothing_imported_gets_it(caller: Caller) -> None:
    assert caller.call(functions.parent, forks=False).result == os.getpid()


def test_a_plain_process_that_the_kernel_ended_for_want_of_memory_is_known_to_be(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = iter((3, 4))
    monkeypatch.setattr(kernel, "memory_kills", lambda: next(kills))
    monkeypatch.setattr(starting, "memory_kills", kernel.memory_kills)
    ended = caller.call(functions.end, signal.SIGKILL, forks=False)
    assert (ended.status, ended.out_of_memory) == (-signal.SIGKILL, True)


def test_a_plain_process_that_is_killed_is_known_to_be(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRSP_TMPDIR", "/proc/nowhere")
    assert caller.call(functions.end, signal.SIGKILL).status == -signal.SIGKILL


# --- what it imports ------------------------------------------------------------------
