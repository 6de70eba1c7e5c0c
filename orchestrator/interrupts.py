"""Ctrl-C: what this process does at it, while there is nothing that has to be ended in good order.

It ends at once, without a traceback, and says what comes of that. Whoever has something to end
(the driver) takes the signal over meanwhile.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

EXIT_CODES = {"SIGINT": 130, "SIGTERM": 143}
SHOW_CURSOR = "\x1b[?25h"
_said = ""


def end_at_interrupts() -> None:
    """End this process at Ctrl-C from now on, with exit code 130."""
    signal.signal(signal.SIGINT, _end)


def say_at_interrupt(text: str) -> None:
    """Say this, too, where the process is ended so from now on."""
    global _said
    _said = text


def _end(number: int, _: FrameType | None) -> NoReturn:
    end_now(signal.Signals(number).name, _said)


def end_now(name: str, text: str) -> NoReturn:
    """End this process at once for the signal of this name; nothing is waited for.

    Nothing is left half-written by that, for stores are written whole or not at all.
    """
    cursor = SHOW_CURSOR if sys.stderr.isatty() else ""
    os.write(2, f"{cursor}\n{text}\n".encode() if text else f"{cursor}\n".encode())
    os._exit(EXIT_CODES[name])


@contextmanager
def ending_at_the_second(text: str) -> Iterator[None]:
    """While open, the second SIGINT or SIGTERM ends this process at once, and says so.

    A thread sees to it, for Python's own handlers have their turn only when a call into another
    language returns, and two signals that come meanwhile count as one there. To be entered, and
    left, in the main thread.
    """
    ours, told = socket.socketpair()
    told.setblocking(False)
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(ours, text), name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        told.close()  # which ends the thread


def _watch(told: socket.socket, text: str) -> None:
    """End the process at the second signal that is told; return when nobody tells any more."""
    names = {int(signal.Signals[name]): name for name in EXIT_CODES}
    seen = 0
    with told:
        while numbers := told.recv(16):
            for number in numbers:
                seen += number in names
                if seen > 1 and number in names:
                    end_now(names[number], text)


@contextmanager
def interruptible(number: int = signal.SIGINT) -> Iterator[None]:
    """While open, Ctrl-C, or the signal of another number, raises KeyboardInterrupt."""
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)
