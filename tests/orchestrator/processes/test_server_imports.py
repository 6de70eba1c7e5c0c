"""What a fork server imports, and what goes wrong there."""

import signal
import threading
from pathlib import Path

import pytest

from orchestrator.processes.place import Preload
from tests.orchestrator.processes import functions
from tests.orchestrator.processes.conftest import (
    FORKED,
    Caller,
    gone,
    kind,
    servers_in,
    wait_until,
)


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
    assert kind(caller) == FORKED


def test_a_module_that_starts_a_thread_is_not_imported_by_the_next_server(
    folder: Path, modules: Path
) -> None:
    (modules / "threaded_one.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    caller = Caller(Preload((str(modules),), ("threaded_one",)))
    assert caller.call(functions.imports, "threaded_one").result is False
    assert kind(caller) == FORKED
    wait_until(lambda: len(servers_in(folder)) == 1)


def test_a_server_needs_no_descriptors_of_processes(
    folder: Path, modules: Path, tmp_path: Path
) -> None:
    """An older kernel, a container or a build of Python may have no pidfd_open(2)."""
    (modules / "older.py").write_text("import os\ndel os.pidfd_open")
    caller = Caller(Preload((str(modules),), ("older",)))
    assert kind(caller) == FORKED
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
