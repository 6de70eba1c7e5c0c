"""The fork server: one per code and environment, there when it is wanted, and gone when not."""

import os
import signal
import threading
from pathlib import Path

import pytest

from orchestrator.processes import request, starting
from orchestrator.processes.place import Place, Preload, server_name
from tests.orchestrator.processes import functions
from tests.orchestrator.processes.conftest import FORKED, Caller, gone, servers_in, wait_until


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


# --- where there can be no server ---------------------------------------------------


def test_a_server_holds_no_folder_of_its_callers(caller: Caller) -> None:
    assert caller.server().cwd() == "/"


def test_a_socket_of_a_dead_server_is_in_nobodys_way(caller: Caller) -> None:
    place, name = Place(), server_name(caller.preload, os.environ)
    place.listen(name).close()
    assert place.connect(name) is None
    place.close()
    assert caller.kind() == FORKED


@pytest.fixture
def modules(code: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that can be imported."""
    monkeypatch.syspath_prepend(code)
    return code


def test_a_module_is_imported_before_it_is_wanted(folder: Path, modules: Path) -> None:
    (modules / "heavy_one.py").write_text("")
    caller = Caller(Preload((str(modules),), ("heavy_one",)))
    assert caller.call(functions.imports, "heavy_one").result is True


def test_what_one_process_had_to_import_the_next_ones_find(folder: Path, modules: Path) -> None:
    (modules / "late_one.py").write_text("")
    caller = Caller(Preload((str(modules),), (), ("late_",)))
    assert caller.call(functions.imports, "late_one").result is False
    wait_until(lambda: caller.call(functions.imports, "late_one").result)


def test_a_module_that_fails_holds_nobody_up(folder: Path, modules: Path) -> None:
    (modules / "broken_one.py").write_text("raise RuntimeError('broken')")
    caller = Caller(Preload((str(modules),), ("broken_one", "no_such_module")))
    assert caller.kind() == FORKED


def test_a_module_that_starts_a_thread_is_not_imported_by_the_next_server(
    folder: Path, modules: Path
) -> None:
    (modules / "threaded_one.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    caller = Caller(Preload((str(modules),), ("threaded_one",)))
    assert caller.call(functions.imports, "threaded_one").result is False
    assert caller.kind() == FORKED
    wait_until(lambda: len(servers_in(folder)) == 1)


def test_a_server_needs_no_descriptors_of_processes(
    folder: Path, modules: Path, tmp_path: Path
) -> None:
    """An older kernel, a container or a build of Python may have no pidfd_open(2)."""
    (modules / "older.py").write_text("import os\ndel os.pidfd_open")
    caller = Caller(Preload((str(modules),), ("older",)))
    assert caller.kind() == FORKED
    assert caller.call(functions.end, signal.SIGKILL).status == -signal.SIGKILL
    caller.call(functions.grandchild, str(tmp_path / "pid"))
    wait_until(lambda: gone(int((tmp_path / "pid").read_text())))


def test_a_server_without_room_for_files_takes_no_more_and_keeps_what_runs(
    folder: Path, modules: Path
) -> None:
    (modules / "full.py").write_text(
        "import errno, os, socket, sys\n"
        "accept = socket.socket.accept\n"
        "def full(listener):\n"
        f"    if os.path.exists({str(modules / 'is_full')!r}):\n"
        "        raise OSError(errno.EMFILE, 'too many open files')\n"
        "    return accept(listener)\n"
        "socket.socket.accept = full\n"
    )
    caller = Caller(Preload((), ("full",)))
    server = caller.server()
    other = Caller(caller.preload)
    found: list[int] = []
    later = threading.Thread(target=lambda: found.append(other.server().pid))

    def leaving() -> bool:
        if not later.is_alive():
            (modules / "is_full").touch()
            later.start()
            return False
        return True

    assert caller.call(functions.until_told, leaving=leaving).result == "told"
    (modules / "is_full").unlink()
    later.join()
    assert found == [server.pid]


def test_a_server_that_leaves_a_module_out_learns_no_other(folder: Path, modules: Path) -> None:
    """For the parts of a package bring in the one that is left out, one server after another."""
    package = modules / "late_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("from late_package import two, three")
    (package / "two.py").write_text("from late_package import three")
    (package / "three.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    caller = Caller(Preload((str(modules),), (), ("late_package",)))
    first = caller.server()
    caller.call(functions.imports, "late_package.one")
    wait_until(lambda: gone(first.pid))
    servers = set()
    for _ in range(3):
        servers.add(caller.server().pid)
        caller.call(functions.imports, "late_package.one")
    assert servers == {caller.server().pid}
