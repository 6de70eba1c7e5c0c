"""Locks of devices between real processes: many that compute, or one that measures."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trsp.distributed.device_lock import computing_devices, own_devices, share_devices

HOLDER = """
import sys, time
from trsp.distributed import device_lock
device_lock.computing_devices = lambda: ("cpu",)  # torch, which knows, takes seconds to load
with getattr(device_lock, sys.argv[1])(wait_s=float(sys.argv[2])) as problem:
    print(f"in {problem}", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRSP_LOCK_DIR", str(tmp_path / "locks"))
    return tmp_path / "locks"


@contextmanager
def another(how: str, wait_s: float = 30) -> Iterator[subprocess.Popen[str]]:
    """Another process that enters ``how`` and stays there until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, how, str(wait_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_many_compute_at_once() -> None:
    with another("share_devices") as other:
        assert says(other) == "in"
        with share_devices(wait_s=0) as problem:
            assert problem == ""


def test_a_measurement_waits_for_others_and_then_has_the_device() -> None:
    with another("share_devices") as other:
        assert says(other) == "in"
        threading.Timer(0.5, other.kill).start()  # its lock goes with it
        with own_devices(wait_s=30) as problem:
            assert other.poll() is not None
            assert problem == ""


def test_a_measurement_that_waited_long_enough_goes_on_and_knows() -> None:
    with another("share_devices") as other:
        assert says(other) == "in"
        with own_devices(wait_s=0.2) as problem:
            assert problem == "others computed on cpu meanwhile"


def test_nobody_computes_beside_a_measurement() -> None:
    with own_devices(wait_s=0), share_devices(wait_s=0.2) as problem:
        assert problem == "others computed on cpu meanwhile"


def test_a_second_measurement_waits_for_the_first() -> None:
    with own_devices(wait_s=0), own_devices(wait_s=0.2) as problem:
        assert problem


def test_nobody_overtakes_a_measurement_that_waits() -> None:
    """Else those who compute could follow one another for ever."""
    with share_devices(wait_s=0), another("own_devices") as measurement:
        wait_for_turnstile()
        with share_devices(wait_s=0.3, queue=False) as problem:
            assert problem == ""  # a rank whose peers hold the device already
        started = time.monotonic()
        with share_devices(wait_s=0.3):
            assert time.monotonic() - started > 0.25
        assert measurement.poll() is None


def wait_for_turnstile() -> None:
    """Wait until another process stands in it."""
    import fcntl

    path = Path(os.environ["TRSP_LOCK_DIR"]) / "cpu.turn"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        time.sleep(0.02)
    raise AssertionError("nobody waits")


def test_every_user_of_the_machine_may_lock(folder: Path) -> None:
    before = os.umask(0o077)
    try:
        with own_devices(wait_s=0):
            assert folder.stat().st_mode & 0o7777 == 0o1777
            assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o666] * 2
    finally:
        os.umask(before)


def test_without_a_place_for_locks_work_goes_on_and_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRSP_LOCK_DIR", str(tmp_path / "file" / "locks"))
    with own_devices(wait_s=0) as problem:
        assert problem.startswith("cpu cannot be locked: ")


def test_gpus_are_locked_by_their_uuids(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    class Properties:
        def __init__(self, uuid: str) -> None:
            self.uuid = uuid

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    uuids = ["b2", "a1"]
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: Properties(uuids[index]))
    assert computing_devices() == ("gpu-a1", "gpu-b2")
    with own_devices(wait_s=0):
        assert {path.name for path in folder.glob("*.lock")} == {"gpu-a1.lock", "gpu-b2.lock"}
