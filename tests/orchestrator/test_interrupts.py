"""Ctrl-C: one line and the exit code of the signal, never a traceback."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

WAITS = """
import sys, time
from orchestrator.interrupts import end_at_interrupts, say_at_interrupt
end_at_interrupts()
say_at_interrupt("the same command goes on")
print("ready", flush=True)
time.sleep(30)
"""

GOES_ON = """
import os, signal, threading, time
from orchestrator.interrupts import ending_at_the_second
signal.signal(signal.SIGINT, lambda *_: os.write(1, b"first\\n"))
with ending_at_the_second("the same command goes on"):
    print("ready", flush=True)
    while True:
        time.sleep(30)
"""


def interrupted(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Send Ctrl-C; return the exit code and what was printed since."""
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=30)[0]
    return process.returncode, printed


def started(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_ctrl_c_ends_with_130_and_says_how_to_go_on() -> None:
    process = started("-c", WAITS)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    code, printed = interrupted(process)
    assert (code, printed.strip()) == (130, "the same command goes on")


def test_the_second_ctrl_c_ends_at_once_whatever_handles_the_first() -> None:
    process = started("-c", GOES_ON)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "first\n"
    code, printed = interrupted(process)
    assert code == 130
    assert "the same command goes on\n" in printed


def test_ctrl_c_while_a_grid_file_is_read_prints_nothing(tmp_path: Path) -> None:
    """A named pipe in the file's place keeps the command waiting for as long as that is open."""
    grid = tmp_path / "grid.yaml"
    os.mkfifo(grid)
    process = started("-m", "orchestrator", "plan", str(grid))
    writer = opened_by_a_reader(grid)
    code, printed = interrupted(process)
    os.close(writer)
    assert (code, printed.strip()) == (130, "")


def opened_by_a_reader(pipe: Path, limit_s: float = 60.0) -> int:
    """Return a descriptor that writes to a named pipe, once somebody reads it."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        with suppress(OSError):
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.02)
    raise AssertionError("nobody reads the grid file")


def test_ctrl_c_is_silent_before_anything_is_imported_that_takes_time() -> None:
    """Until then, Python's own handler would print a traceback."""
    code = "import orchestrator.__main__, sys; print({'typer', 'pydantic'} & {*sys.modules})"
    assert started("-c", code).communicate(timeout=60)[0] == "set()\n"
