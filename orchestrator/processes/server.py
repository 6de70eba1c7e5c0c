"""The fork server: it imports what processes of ours need, and forks one per connection.

    python -c ... trsp-fork-server < configuration

It has one thread, computes nothing and touches no GPU. It ends when nobody has wanted a process for
a while, or when its code is gone; its children end when it does, however that happens, and when
their callers do.
"""

import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from orchestrator.processes.child import answer_calls
from orchestrator.processes.kernel import GPU_VARIABLES, die_with, memory_kills, peer_uid, set_name
from orchestrator.processes.place import Place
from orchestrator.processes.preloads import QUIET, UnfitError, import_all, imported_since
from orchestrator.processes.surroundings import hides_gpus
from orchestrator.processes.wire import Closed, send_end

_POLL_S = 1.0
_LEARNED_BYTES = 1 << 16  # what a pipe holds


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
    ended: int  # a descriptor of the process
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
    set_name("trsp-fork-serve")
    os.environ.update(QUIET)
    if not hides_gpus(os.environ):  # one that uses a GPU as it is imported is to be found out
        for variable in GPU_VARIABLES:
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
        self._poll = select.poll()
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
        sys.stdout.flush()  # or each child would say it, too
        sys.stderr.flush()

    # --- children -----------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        """Fork a child for whoever has connected, if it is of this user."""
        connection, _ = listener.accept()
        self._used = time.monotonic()
        if peer_uid(connection) != os.getuid():
            connection.close()
            return
        learned, tells = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            server = os.getpid()
            if (pid := os.fork()) == 0:
                os.close(learned)
                self._be_child(server, connection, tells)
            with suppress(OSError):  # the child may have done it already
                os.setpgid(pid, pid)
            self._know(_Child(pid, os.pidfd_open(pid), connection, learned, memory_kills()))
        except OSError:  # too many processes, or too little memory, for another one
            traceback.print_exc()
            connection.close()
            os.close(learned)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            os.close(tells)

    def _know(self, child: _Child) -> None:
        self._children |= dict.fromkeys(_descriptors(child), child)
        self._poll.register(child.ended, select.POLLIN)
        self._poll.register(child.learned, select.POLLIN)
        self._poll.register(child.connection, select.POLLRDHUP)

    def _be_child(self, server: int, connection: socket.socket, tells: int) -> NoReturn:
        code = 1
        try:
            die_with(server)
            os.setpgid(0, 0)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._forget_others()
            code = answer_calls(connection, self._teller(tells))
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code & 0xFF)  # what would be done at the end is what the server registered

    def _forget_others(self) -> None:
        """Close what is the server's and other children's."""
        if self._listener is not None:
            self._listener.close()
        for child in {child.pid: child for child in self._children.values()}.values():
            _let_go(child)
        self._place.close()

    def _teller(self, tells: int) -> Callable[[], None]:
        """Return what tells the server, from a child, which modules this had to import."""
        known = set(sys.modules)
        os.set_blocking(tells, False)

        def tell() -> None:
            names = imported_since(known, self._configuration.learned)
            known.update(names)
            data = "".join(f"{name}\n" for name in names).encode()
            if data and len(data) <= _LEARNED_BYTES:
                with suppress(OSError):
                    os.write(tells, data)

        return tell

    def _hear(self, child: _Child, descriptor: int) -> None:
        if descriptor == child.learned:
            data = os.read(descriptor, _LEARNED_BYTES)
            if data:
                self._import(tuple(data.decode(errors="replace").split()))
            else:
                self._poll.unregister(descriptor)  # the child is about to end
        elif descriptor == child.ended:
            self._end(child)
        else:
            with suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
            self._poll.unregister(child.connection)

    def _end(self, child: _Child) -> None:
        """Say how a child has ended, and forget it."""
        with suppress(OSError):  # what it has started and left
            os.killpg(child.pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        killed = status == -signal.SIGKILL and memory_kills() > child.memory_kills
        send_end(child.connection, Closed(status, killed))
        for descriptor in _descriptors(child):
            del self._children[descriptor]
            with suppress(KeyError):
                self._poll.unregister(descriptor)
        _let_go(child)
        self._used = time.monotonic()


def _descriptors(child: _Child) -> tuple[int, ...]:
    return child.ended, child.learned, child.connection.fileno()


def _let_go(child: _Child) -> None:
    child.connection.close()
    os.close(child.ended)
    os.close(child.learned)


if __name__ == "__main__":
    main(json.load(sys.stdin))
