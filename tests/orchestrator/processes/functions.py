"""What the tests have done in processes of their own. Loads nothing heavy."""

import importlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from orchestrator.processes.child import Channel

HERE = f"{__name__}:"


def pid(payload: Any, channel: Channel) -> int:
    return os.getpid()


def parent(payload: Any, channel: Channel) -> int:
    return os.getppid()


def tell(payload: Any, channel: Channel) -> str:
    """Tell each of the payload, then return."""
    for message in payload:
        channel.tell(message)
    return "all told"


def fail(payload: Any, channel: Channel) -> None:
    raise ValueError(payload)


def last(payload: Any, channel: Channel) -> int:
    """Let no call follow."""
    channel.last = True
    return os.getpid()


def end(payload: int, channel: Channel) -> None:
    """End by this signal or, where it is negative, with this exit code."""
    if payload > 0:
        os.kill(os.getpid(), payload)
    sys.exit(-payload)


def talk_and_die(payload: int, channel: Channel) -> None:
    """Say the beginning of a message of so many bytes, and be killed."""
    os.write(channel._wire.connection.fileno(), payload.to_bytes(4, "big") + b"half")
    os.kill(os.getpid(), signal.SIGKILL)


def never_exit(payload: Any, channel: Channel) -> str:
    """Return, and hang when the process is to end."""
    os._exit = lambda code: time.sleep(60)  # type: ignore[assignment]
    return "done"


def surroundings(payload: str, channel: Channel) -> list[Any]:
    return [os.environ.get(payload), os.getcwd(), sys.path[-1], sorted(os.sched_getaffinity(0))]


def random_numbers(payload: Any, channel: Channel) -> list[float]:
    import random

    import numpy as np

    return [random.random(), float(np.random.random())]


def say(payload: Any, channel: Channel) -> None:
    print("from python")
    os.write(2, b"from C\n")


def wait(payload: str, channel: Channel) -> None:
    """Leave the process's number in a file, and wait for ever."""
    Path(payload).with_suffix(".new").write_text(str(os.getpid()))
    Path(payload).with_suffix(".new").rename(payload)
    time.sleep(600)


def until_told(payload: Any, channel: Channel) -> str:
    """Wait until the process is told to go."""
    while not channel.leaving():
        time.sleep(0.01)
        channel.tell(os.getpid())
    return "told"


def grow(payload: int, channel: Channel) -> int:
    """Keep so many bytes for ever."""
    sys.modules["kept"] = bytearray(os.urandom(1) * payload)  # type: ignore[assignment]
    return os.getpid()


def imports(payload: str, channel: Channel) -> bool:
    """Import a module; return whether that had been done before."""
    before = payload in sys.modules
    importlib.import_module(payload)
    return before


def grandchild(payload: str, channel: Channel) -> None:
    """Leave a process that runs on, its number in a file."""
    if os.fork() == 0:
        wait(payload, channel)
    while not Path(payload).exists():
        time.sleep(0.01)
