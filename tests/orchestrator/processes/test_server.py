"""The fork server: one per code and environment, there when it is wanted, and gone when not."""

import os
import threading
from pathlib import Path

import pytest

from orchestrator.processes import request, starting
from orchestrator.processes.place import Place, Preload, server_name
from tests.orchestrator.processes import functions
from tests.orchestrator.processes.conftest import Caller, gone, wait_until


def test_a_server_is_in_no_process_group_of_its_callers(caller: Caller) -> None:
    server = caller.server()
    assert os.getsid(server.pid) != os.getsid(0)
    assert server.ppid() != os.getpid()


def test_callers_that_come_at_once_start_one_server(folder: Path, code: Path) -> None:
    found: list[int] = []
    callers = [Caller(Preload((str(code),))) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda c=one: found.append(c.server().pid)) for one in callers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_a_server_that_is_killed_takes_its_process_along_and_another_comes(
    caller: Caller, tmp_path: Path
) -> None:
    server = caller.server()
    pid = tmp_path / "pid"

    def kill() -> None:
        wait_until(pid.exists)
        server.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    ended = caller.call(functions.wait, str(pid))
    killer.join()
    assert (ended.returned, ended.raised) == (False, None)
    wait_until(lambda: gone(int(pid.read_text())))
    assert caller.server() != server


def test_a_server_that_is_told_to_end_waits_for_its_processes(caller: Caller) -> None:
    server = caller.server()

    def leaving() -> bool:
        server.terminate()
        wait_until(lambda: not any(path.is_socket() for path in _files(caller)))
        return True

    assert caller.call(functions.until_told, leaving=leaving).result == "told"
    wait_until(lambda: gone(server.pid))
    assert caller.server() != server


def _files(caller: Caller) -> list[Path]:
    place = Place()
    place.close()
    return list(place.folder.iterdir())


def test_a_server_ends_when_nobody_wants_it(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "IDLE_S", 0.1)
    server = caller.server()
    wait_until(lambda: gone(server.pid))
    assert not any(path.is_socket() for path in _files(caller))


def test_a_server_ends_when_its_code_is_gone(caller: Caller, code: Path) -> None:
    server = caller.server()
    code.rmdir()
    wait_until(lambda: gone(server.pid))


def test_changed_code_is_another_server(caller: Caller, code: Path) -> None:
    server = caller.server()
    (code / "new.py").write_text("a = 1")
    assert caller.server() != server


def test_a_name_knows_what_is_read_at_import_and_not_what_ray_gives_each_task() -> None:
    preload = Preload(())
    base = server_name(preload, {"HF_HOME": "/a"})
    assert base != server_name(preload, {"HF_HOME": "/b"})
    given = {"CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "4", "RAY_JOB_ID": "2"}
    assert base == server_name(preload, {"HF_HOME": "/a", **given})
    hidden = {"CUDA_VISIBLE_DEVICES": ""}  # an import may have asked whether there is one
    assert base != server_name(preload, {"HF_HOME": "/a", **hidden})


def test_a_kept_process_ends_by_itself(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "KEPT_S", 0.1)
    first = caller.call(functions.pid, may_follow=True).result
    wait_until(lambda: gone(first))
    assert caller.call(functions.pid, may_follow=True).returned


def test_what_a_server_left_long_ago_is_swept_away_and_nothing_else(caller: Caller) -> None:
    place = Place()
    server = caller.server()
    for name in ("old", "old.lock", "old.log"):
        (place.folder / name).write_text("")
    for path in place.folder.iterdir():
        os.utime(path, (0, 0))
    (place.folder / "new.lock").write_text("")
    place.sweep()
    place.close()
    left = {path.name.partition(".")[0] for path in place.folder.iterdir()}
    assert left == {"new", server_name(caller.preload, os.environ)}
    assert caller.server() == server
