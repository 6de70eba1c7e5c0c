"""Functions in processes of their own: what they get, tell and return, and how they end."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.processes import child, starting
from orchestrator.processes.request import Call, Ended, Request
from orchestrator.processes.wire import Wire
from tests.orchestrator.processes import functions
from tests.orchestrator.processes.conftest import Caller, gone, wait_until


def test_each_call_has_a_process_of_its_own_of_the_same_server(caller: Caller) -> None:
    pids = {caller.call(functions.pid).result for _ in range(3)}
    assert len(pids | {os.getpid()}) == 4
    assert caller.server() == caller.server()


def test_what_a_function_tells_comes_before_what_it_returns(caller: Caller) -> None:
    messages = [1, {"a": None}, "x" * 300_000]
    assert caller.call(functions.tell, messages) == Ended(True, "all told")
    assert caller.told == messages


def test_an_error_comes_back_in_words(caller: Caller) -> None:
    ended = caller.call(functions.fail, "no such thing")
    assert ended.raised is not None
    assert (ended.raised.error, ended.raised.message) == ("ValueError", "no such thing")
    assert "in fail" in ended.raised.traceback


@pytest.mark.parametrize("status", [-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGTERM, 3])
def test_how_a_process_was_lost_is_known(caller: Caller, status: int) -> None:
    assert caller.call(functions.end, -status) == Ended(False, status=status)


def test_a_process_that_is_killed_as_it_speaks_is_lost_like_others(caller: Caller) -> None:
    assert caller.call(functions.talk_and_die, 10_000) == Ended(False, status=-signal.SIGKILL)


def test_a_process_that_hangs_when_it_is_to_end_is_ended(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "END_LIMIT_S", 0.2)
    assert caller.call(functions.never_exit) == Ended(True, "done")
    wait_until(lambda: not caller.server().children())


def test_variables_folder_path_and_cpus_are_the_callers(
    caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller.server()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, "/the/last"])
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "7"}
    ended = caller.call(functions.surroundings, "CUDA_VISIBLE_DEVICES", environment=environment)
    cpus = sorted(os.sched_getaffinity(0))
    assert ended.result == ["7", str(tmp_path), "/the/last", cpus]


def test_a_variable_that_is_gone_is_gone_there_too(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ANYTHING", "1")
    assert caller.call(functions.surroundings, "RAY_ANYTHING").result[0] == "1"
    monkeypatch.delenv("RAY_ANYTHING")
    assert caller.call(functions.surroundings, "RAY_ANYTHING").result[0] is None


def test_two_processes_draw_different_numbers(caller: Caller) -> None:
    caller.call(functions.imports, "numpy")
    one, other = (caller.call(functions.random_numbers).result for _ in range(2))
    assert not set(one) & set(other)


_PRINTS = """
import sys, os
sys.path.insert(0, os.getcwd())
from tests.orchestrator.processes import functions
from tests.orchestrator.processes.conftest import Caller
from orchestrator.processes.place import Preload
payload = int(sys.argv[2]) if sys.argv[2].isdigit() else sys.argv[2]
Caller(Preload(())).call(getattr(functions, sys.argv[1]), payload)
"""


def _started(function: str, payload: str = "") -> subprocess.Popen[str]:
    """Start a process that makes a call."""
    return subprocess.Popen(
        [sys.executable, "-c", _PRINTS, function, payload],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_is_printed_goes_where_the_caller_prints(folder: Path) -> None:
    assert _started("say").communicate(timeout=60) == ("from python\n", "from C\n")


def test_a_crash_leaves_its_stack_where_the_caller_prints(folder: Path) -> None:
    assert "in end" in _started("end", "11").communicate(timeout=60)[1]


def test_a_process_ends_when_its_caller_is_killed(folder: Path, tmp_path: Path) -> None:
    calling = _started("wait", str(tmp_path / "pid"))
    with calling:
        wait_until((tmp_path / "pid").exists)
        calling.kill()
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: gone(pid))


_UNTIED = """
import os, sys
from orchestrator.processes import kernel
kernel._prctl = lambda *_: None
from orchestrator.processes.plain import main
main(int(sys.argv[1]), os.getppid())
"""


def test_where_the_kernel_ties_no_process_to_another_it_still_ends_with_its_caller(
    tmp_path: Path,
) -> None:
    """As on macOS, or where prctl(2) is forbidden; its parent, this process, lives on."""
    ours, its = socket.socketpair()
    call = Call(f"{functions.HERE}wait", str(tmp_path / "pid"), dict(os.environ))
    with ours, its:
        command = [sys.executable, "-c", _UNTIED, str(its.fileno())]
        process = subprocess.Popen(command, pass_fds=(its.fileno(),))
        its.close()
        socket.send_fds(ours, [b"o"], [1, 2])
        Wire(ours).send(Request.of(call).to_json())
        wait_until((tmp_path / "pid").exists)
    assert process.wait(30) == -signal.SIGKILL


def test_a_process_whose_server_is_busy_ends_with_its_caller(
    caller: Caller, tmp_path: Path
) -> None:
    calling = _started("wait", str(tmp_path / "pid"))
    with calling:
        wait_until((tmp_path / "pid").exists)
        pid = int((tmp_path / "pid").read_text())
        server = psutil.Process(pid).parent()
        if server is not None and server.pid != calling.pid:
            server.suspend()
        calling.kill()
    assert server is not None
    wait_until(lambda: gone(pid))
    assert server.status() == psutil.STATUS_STOPPED


def test_what_a_process_has_started_ends_with_it(caller: Caller, tmp_path: Path) -> None:
    caller.call(functions.grandchild, str(tmp_path / "pid"))
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: gone(pid))


# --- told to go -----------------------------------------------------------------


def test_a_process_that_asks_hears_that_its_caller_is_to_go(caller: Caller) -> None:
    ended = caller.call(functions.until_told, leaving=lambda: len(caller.told) > 3)
    assert ended == Ended(True, "told")


def test_nobody_is_asked_for_a_process_that_does_not_ask(caller: Caller) -> None:
    asked: list[bool] = []
    caller.call(functions.tell, [1], leaving=lambda: bool(asked.append(True)))
    assert not asked


def test_a_signal_to_a_process_that_asks_is_a_notice(caller: Caller) -> None:
    class Told(list[int]):
        def append(self, pid: int) -> None:
            with suppress(ProcessLookupError):  # it has gone by the one before
                os.kill(pid, signal.SIGTERM)

    caller.told = Told()
    assert caller.call(functions.until_told) == Ended(True, "told")


def test_an_exception_of_who_listens_ends_the_process(caller: Caller) -> None:
    heard: list[int] = []

    def interrupted() -> bool:
        heard.extend(caller.told)
        if heard:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        caller.call(functions.until_told, leaving=interrupted)
    wait_until(lambda: gone(heard[0]))


# --- one after the other ----------------------------------------------------------


def test_calls_that_may_follow_share_a_process(caller: Caller) -> None:
    pids = {caller.call(functions.pid, may_follow=True).result for _ in range(3)}
    assert len(pids) == 1


def test_no_call_follows_one_that_may_not_or_has_other_variables(caller: Caller) -> None:
    first = caller.call(functions.pid, may_follow=True).result
    other = {**os.environ, "OMP_NUM_THREADS": "2"}
    second = caller.call(functions.pid, may_follow=True, environment=other).result
    third = caller.call(functions.pid, environment=other).result
    assert len({first, second, third}) == 3
    wait_until(lambda: gone(first) and gone(second))


def test_no_call_follows_where_memory_has_grown(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = caller.call(functions.grow, 2**20, may_follow=True).result
    assert caller.call(functions.grow, 300 * 2**20, may_follow=True).result == first
    assert caller.call(functions.pid, may_follow=True).result != first


def test_no_call_follows_one_that_failed(caller: Caller) -> None:
    first = caller.call(functions.pid, may_follow=True).result
    caller.call(functions.fail, "so", may_follow=True)
    assert caller.call(functions.pid, may_follow=True).result != first


def test_no_call_follows_where_the_function_says_so(caller: Caller) -> None:
    first = caller.call(functions.last, may_follow=True).result
    assert caller.call(functions.pid, may_follow=True).result != first


def test_no_call_follows_where_nobody_knows_how_memory_has_grown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not child._as_small_as(0)
    assert child._as_small_as(child.own_memory_bytes())


def test_a_process_that_was_killed_while_it_waited_is_replaced(caller: Caller) -> None:
    first = caller.call(functions.pid, may_follow=True).result
    os.kill(first, signal.SIGKILL)
    assert caller.call(functions.pid, may_follow=True).returned
