"""What a process does that was made for a call: it takes the caller's surroundings, calls, answers.

Knows no server: it is the same in a process that was forked and in one that was started.
"""

import faulthandler
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from orchestrator.processes.kernel import give_back_memory, own_memory_bytes
from orchestrator.processes.request import Request
from orchestrator.processes.surroundings import take_over
from orchestrator.processes.wire import Closed, Wire

REQUEST_LIMIT_S = 60.0  # for a caller that has connected to say what it wants
MAY_GROW_BYTES = 128 * 2**20  # by which its own memory may grow where a call may follow
MOST_CALLS = 100
_DESCRIPTORS = 2
_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL
_POLL_S = 0.1
_TRACEBACK_CHARS = 20_000


class Channel:
    """What a function that was called in a process of its own tells its caller, and asks it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._asked = self._told_to_go = False
        self.last = False  # for the function to say that no call is to follow in its process

    def tell(self, message: Any) -> None:
        """Tell the caller a JSON value. OSError: it is gone, and so will this process be."""
        self._wire.send({"told": message})

    def leaving(self) -> bool:
        """Whether this process, or the caller's, was told to go. Cheap: to be asked at every step.

        All that a caller ever says to a call that runs is to go. From the first time on, SIGTERM is
        such a notice, and ends this process no more.
        """
        if not self._asked:
            self._asked = True
            self._wire.send({"asks": True})
        if not self._told_to_go:
            self._told_to_go = self._wire.receive(0) is not None or self._told_to_go
        return self._told_to_go

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGTERM."""
        self._told_to_go = True
        if not self._asked:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def answer_calls(connection: socket.socket, learned: Callable[[], None]) -> int:
    """Answer the call that comes over this connection, and those that may follow it.

    ``learned`` is called after each. Returns the exit code of this process, which is killed when
    the caller's end of the connection is closed.
    """
    wire = Wire(connection)
    _take_output(connection)
    faulthandler.enable()  # a crash leaves the stack where the process prints
    threading.Thread(target=_end_with, args=(connection.fileno(),), daemon=True).start()
    before, limit_s = 0, REQUEST_LIMIT_S
    for _ in range(MOST_CALLS):
        message = wire.receive(limit_s)
        if message is None or isinstance(message, Closed):
            return 0
        wire.send({"begun": True})
        request = Request(**message)
        before = before or (request.may_follow and own_memory_bytes())
        channel = Channel(wire)
        answer = _answer(request, channel)
        may_follow = request.may_follow and "raised" not in answer and not channel.last
        follows = may_follow and _as_small_as(before)
        wire.send({**answer, "follows": follows})
        learned()
        if not follows:
            return 0
        limit_s = request.kept_s
    return 0


def _answer(request: Request, channel: Channel) -> dict[str, Any]:
    """Call what is asked for; return the answer, whether it ended well or not."""
    signal.signal(signal.SIGTERM, channel)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        take_over(request)
        module, _, name = request.target.partition(":")
        function = getattr(importlib.import_module(module), name)
        return {"returned": function(request.payload, channel)}
    except Exception as error:
        words = (type(error).__name__, str(error), traceback.format_exc()[-_TRACEBACK_CHARS:])
        return {"raised": words}
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()


def _end_with(connection: int) -> None:
    """Wait until the other end of a connection is gone, and kill this process.

    A fork server does so, too, but may be busy with an import; a plain process has none, and where
    there is no prctl(2) it would go on without its caller.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's
    poll = select.poll()
    poll.register(connection, select.POLLHUP)
    while not any(event & _GONE for _, event in poll.poll()):
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _take_output(connection: socket.socket) -> None:
    """Print from now on where the caller prints."""
    _, descriptors, _, _ = socket.recv_fds(connection, 1, _DESCRIPTORS)
    for descriptor, target in zip(descriptors, (1, 2), strict=False):
        os.dup2(descriptor, target)
        os.close(descriptor)


def _as_small_as(before: int) -> bool:
    """Whether this process is known to have about as much memory of its own as it had at first."""
    if not before:
        return False
    if own_memory_bytes() - before > MAY_GROW_BYTES:
        gc.collect()
        give_back_memory()
    return own_memory_bytes() - before <= MAY_GROW_BYTES
