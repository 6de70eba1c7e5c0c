"""The fork server: it imports what processes of ours need, and forks one per connection.

    python -c ... trsp-fork-server < configuration

It has one thread, computes nothing and touches no GPU. It ends when nobody has wanted a process for
a while, or when its code is gone; its children end when it does, however that happens, and when
their callers do.
"""

import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from orchestrator.processes import kernel
from orchestrator.processes.child import answer_calls
from orchestrator.processes.place import Place
from orchestrator.processes.preloads import LEARNED_BYTES, QUIET, UnfitError, import_all, teller
from orchestrator.processes.surroundings import hides_gpus
from orchestrator.processes.wire import Closed, send_end

_POLL_S = 1.0
_FULL_S = 0.1  # to wait for a child's end where no more files can be opened


@dataclass(frozen=True)
class Configuration:
    """What a server is started with."""

    folder: str
    name: str
    modules: tuple[str, ...]
    learned: tuple[str, ...]
    code: tuple[str, ...]
    idle_s: float


@dataclass(frozen=True)
class _Child:
    pid: int
    connection: socket.socket
    learned: int  # where it says what it had to import
    memory_kills: int  # at its begin


def main(configuration: Mapping[str, Any]) -> None:
    """Be the server. Returns in the process that was started, once the server listens."""
    lists = {name: tuple(configuration[name]) for name in ("modules", "learned", "code")}
    known = Configuration(**{**configuration, **lists})
    place = Place(Path(known.folder))
    listener = place.listen(known.name)
    if os.fork():
        return
    os.setsid()
    os.chdir("/")  # so that it holds no other folder
    if os.fork():
        os._exit(0)  # so that no process has it for a child, or finds it in its session
    kernel.set_name("trsp-fork-serve")
    os.environ.update(QUIET)
    if not hides_gpus(os.environ):  # one that uses a GPU as it is imported is to be found out
        for variable in kernel.GPU_VARIABLES:
            os.environ.pop(variable, None)
    try:
        ForkServer(place, listener, known).run()
    except BaseException:
        traceback.print_exc()
    os._exit(0)


class ForkServer:
    """One server, from its imports to its end."""

    def __init__(self, place: Place, listener: socket.socket, configuration: Configuration) -> None:
        self._place, self._configuration = place, configuration
        self._listener: socket.socket | None = listener
        self._children: dict[int, _Child] = {}  # by each of their descriptors
        self._ended = kernel.told_of_ends()
        self._poll = select.poll()
        self._poll.register(self._ended, select.POLLIN)
        self._poll.register(listener, select.POLLIN)
        self._used = time.monotonic()
        self._ends = False
        signal.signal(signal.SIGTERM, self._told_to_end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def run(self) -> None:
        """Serve until nobody wants anything more."""
        self._import(self._configuration.modules)
        while self._children or not self._is_over():
            heard = {descriptor for descriptor, _ in self._poll.poll(_POLL_S * 1000)}
            for descriptor in heard:
                if child := self._children.get(descriptor):
                    self._hear(child, descriptor)
            self._take_ends()
            # The last, for a new child gets the numbers of descriptors that were closed.
            if self._listener is not None and self._listener.fileno() in heard:
                self._accept(self._listener)
            if self._ends or not self._has_code():
                self._close()
        self._close()

    def _is_over(self) -> bool:
        idle_s = time.monotonic() - self._used
        return self._listener is None or idle_s > self._configuration.idle_s

    def _has_code(self) -> bool:
        return all(os.path.isdir(folder) for folder in self._configuration.code)

    def _told_to_end(self, number: int, frame: FrameType | None) -> None:
        """Take no more calls; those that run have their own notice, and end as they see fit."""
        self._ends = True

    def _close(self) -> None:
        """Take no more calls: whoever comes now starts another server."""
        if self._listener is None:
            return
        name = self._configuration.name
        with suppress(OSError), self._place.locked(name, limit_s=1.0):
            self._place.remove(name, f"{name}.log")
        self._poll.unregister(self._listener)
        self._listener.close()
        self._listener = None

    def _import(self, modules: tuple[str, ...]) -> None:
        """Import modules for the next children; where that spoils this process, take no more."""
        name = self._configuration.name
        unsafe = self._place.unsafe(name)
        try:
            import_all(module for module in modules if module not in unsafe)
        except UnfitError as error:
            print(error, flush=True)
            self._place.add_unsafe(name, error.modules)
            self._close()
        except OSError:  # nobody can tell: there were too many processes, or too little memory
            traceback.print_exc()
            self._close()
        sys.stdout.flush()  # or each child would say it, too
        sys.stderr.flush()

    # --- children -----------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        """Fork a child for whoever has connected, if it is of this user."""
        self._used = time.monotonic()
        try:
            connection, _ = listener.accept()
        except OSError:  # too many files are open; those that run shall not suffer for it
            time.sleep(_FULL_S)
            return
        try:
            if kernel.peer_uid(connection) == os.getuid():
                self._fork(connection)
            else:
                connection.close()
        except OSError:  # too many processes or files, or too little memory, for another one
            traceback.print_exc()
            connection.close()

    def _fork(self, connection: socket.socket) -> None:
        """Fork a child for this connection. OSError: it cannot be."""
        learned, tells = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            server, kills = os.getpid(), kernel.memory_kills()
            if (pid := os.fork()) == 0:
                os.close(learned)
                self._be_child(server, connection, tells)
            with suppress(OSError):  # the child may have done it already
                os.setpgid(pid, pid)
            self._know(_Child(pid, connection, learned, kills))
        except OSError:
            os.close(learned)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            os.close(tells)

    def _know(self, child: _Child) -> None:
        self._children |= dict.fromkeys(_descriptors(child), child)
        self._poll.register(child.learned, select.POLLIN)
        self._poll.register(child.connection, select.POLLRDHUP)

    def _be_child(self, server: int, connection: socket.socket, tells: int) -> NoReturn:
        code = 1
        try:
            kernel.die_with(server)
            os.setpgid(0, 0)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._forget_others()
            code = answer_calls(connection, teller(tells, self._configuration.learned))
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code & 0xFF)  # what would be done at the end is what the server registered

    def _forget_others(self) -> None:
        """Close what is the server's and other children's."""
        kernel.tell_of_no_ends()
        os.close(self._ended)
        if self._listener is not None:
            self._listener.close()
        for child in set(self._children.values()):
            _let_go(child)
        self._place.close()

    def _hear(self, child: _Child, descriptor: int) -> None:
        if descriptor == child.learned:
            data = os.read(descriptor, LEARNED_BYTES)
            if not data:
                self._poll.unregister(descriptor)  # the child is about to end
            elif not self._place.unsafe(self._configuration.name):
                # Else what is to be left out would come in again by the names of its parts.
                self._import(tuple(data.decode(errors="replace").split()))
        else:
            with suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
            self._poll.unregister(child.connection)

    def _take_ends(self) -> None:
        """See to the children that have ended."""
        with suppress(BlockingIOError):
            os.read(self._ended, LEARNED_BYTES)
        for child in set(self._children.values()):
            if kernel.has_ended(child.pid):
                self._end(child)

    def _end(self, child: _Child) -> None:
        """Say how a child has ended, and forget it."""
        with suppress(OSError):  # what it has started and left
            os.killpg(child.pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        killed = kernel.was_killed_for_memory(status, child.memory_kills)
        send_end(child.connection, Closed(status, killed))
        for descriptor in _descriptors(child):
            del self._children[descriptor]
            with suppress(KeyError):
                self._poll.unregister(descriptor)
        _let_go(child)
        self._used = time.monotonic()


def _descriptors(child: _Child) -> tuple[int, ...]:
    return child.learned, child.connection.fileno()


def _let_go(child: _Child) -> None:
    child.connection.close()
    os.close(child.learned)
