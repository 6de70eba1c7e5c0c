"""Runs functions in processes of their own, and follows them: the way into this folder."""

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from orchestrator.processes.place import Preload
from orchestrator.processes.request import Call, Ended, Raised, Request
from orchestrator.processes.starting import PlainProcess, Process, forked, wait_for_end
from orchestrator.processes.wire import Closed

BEGIN_LIMIT_S = 300.0  # for a process to take a call: a new server imports before
ATTEMPTS = 3  # to get a process from a server: a server may end as it is asked
RETRY_S = 600.0  # after which a server is asked for again where none was to be had
_POLL_S = 0.25
_NOTHING = "operator:is_"  # takes a payload and a channel, and does nothing


class Processes:
    """What one process has others do. For one thread at a time.

    Each call gets a fresh process, but for calls that may follow each other: these find the last
    one's, for a few seconds.
    """

    def __init__(self, preload: Preload, forks: bool = True) -> None:
        """``preload``: of the fork server. Unless ``forks``, processes are started plainly."""
        self._preload = preload
        self._attempts = ATTEMPTS if forks else 0
        self._plain_until = float("-inf")  # by the monotonic clock
        self._kept: tuple[Process, dict[str, str]] | None = None

    def run(
        self,
        call: Call,
        on_message: Callable[[Any], None],
        leaving: Callable[[], bool],
    ) -> Ended:
        """Run a function in a process of its own, and return how that ended.

        ``on_message`` gets what it tells. ``leaving`` is asked whether it is to go, several times a
        second, once the function has asked for that itself. An exception of either, or a signal's,
        ends the process.
        """
        process = self._begun(call)
        try:
            ended, follows = _Following(process, on_message, leaving).to_its_end()
        except BaseException:
            process.close()
            raise
        if follows:
            self._kept = process, dict(call.environment)
        else:
            process.close()
        return ended

    def forked_within_s(self, environment: Mapping[str, str]) -> float:
        """Return the seconds until a process that was forked for this has answered.

        OSError: none can be forked, and calls get plain processes.
        """
        if not self._attempts:
            raise OSError("processes are started plainly here, as it was asked for")
        begun = time.monotonic()
        process = forked(self._preload, environment)
        try:
            request = Request.of(Call(_NOTHING, None, environment)).to_json()
            if _begins(process, request, new=True):
                ended, _ = _Following(process, lambda message: None, lambda: False).to_its_end()
                if ended.returned:
                    return time.monotonic() - begun
        finally:
            process.close()
        raise ChildProcessError("the fork server, or its process, ended as it was asked")

    def close(self) -> None:
        """End the process that was kept for another call."""
        if self._kept is not None:
            self._kept[0].close()
            self._kept = None

    def _begun(self, call: Call) -> Process:
        """Return a process that has taken the call. OSError: there can be none."""
        request = Request.of(call).to_json()
        kept = self._take_kept(call)
        if kept is not None and _begins(kept, request):
            return kept
        has_servers = call.forks and time.monotonic() >= self._plain_until
        attempts = self._attempts if has_servers else 0
        for attempt in range(attempts + 1):
            if attempt and attempt == attempts:  # each attempt may have cost all its imports
                self._plain_until = time.monotonic() + RETRY_S
            try:
                process = self._new(call, forks=attempt < attempts)
            except OSError:
                if attempt < attempts:
                    continue
                raise
            if _begins(process, request, new=True):
                return process
        raise ChildProcessError("a process was started and did not take up its work")

    def _new(self, call: Call, forks: bool) -> Process:
        """Return a new process, forked or plain. OSError: there can be none."""
        return forked(self._preload, call.environment) if forks else PlainProcess(call.environment)

    def _take_kept(self, call: Call) -> Process | None:
        """Return the process that was kept, if this call may follow there; else end it."""
        if self._kept is None:
            return None
        process, environment = self._kept
        if call.may_follow and environment == call.environment:
            self._kept = None
            return process
        self.close()
        return None


def _begins(process: Process, request: dict[str, Any], new: bool = False) -> bool:
    """Whether a process takes this request up; it is ended where not."""
    begins = False
    try:
        if new:
            _send_output(process.wire.connection)
        process.wire.send(request)
        begins = isinstance(process.wire.receive(BEGIN_LIMIT_S), dict)
    except OSError:
        return False
    finally:  # also where an exception of a signal's ends the waiting
        if not begins:
            process.close()
    return begins


def _send_output(connection: socket.socket) -> None:
    """Let the process print where this one prints."""
    with open(os.devnull, "wb") as nowhere:
        numbers = [_or(number, nowhere.fileno()) for number in (1, 2)]
        socket.send_fds(connection, [b"o"], numbers)


def _or(number: int, other: int) -> int:
    """Return a descriptor where it is open, else the other."""
    try:
        os.fstat(number)
        return number
    except OSError:
        return other


class _Following:
    """One call that runs in a process."""

    def __init__(
        self, process: Process, on_message: Callable[[Any], None], leaving: Callable[[], bool]
    ) -> None:
        self._process, self._on_message, self._leaving = process, on_message, leaving
        self._asks = self._told_to_go = False

    def to_its_end(self) -> tuple[Ended, bool]:
        """Return how the call ended, and whether another may follow in its process."""
        while True:
            heard = self._process.wire.receive(_POLL_S)
            if isinstance(heard, Closed):
                end = self._process.end(heard)
                return Ended(False, status=end.status, out_of_memory=end.out_of_memory), False
            if heard is not None and (ended := self._answered(heard)):
                follows = heard["follows"] and not self._told_to_go
                if not follows:
                    wait_for_end(self._process)
                return ended, follows
            if self._asks and not self._told_to_go and self._leaving():
                self._told_to_go = True
                with suppress(OSError):
                    self._process.wire.send({"go": True})

    def _answered(self, heard: dict[str, Any]) -> Ended | None:
        """Take in what the process says; return how the call ended, once it has."""
        if "told" in heard:
            self._on_message(heard["told"])
        self._asks = self._asks or "asks" in heard
        if "returned" in heard:
            return Ended(True, heard["returned"])
        if "raised" in heard:
            return Ended(False, raised=Raised(*heard["raised"]))
        return None
