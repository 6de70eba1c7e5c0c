"""Who may compute on a device of this machine: many at once, or one measurement alone.

A lock per device, as advisory file locks in a folder that all users of the machine share. It ends
with the process that holds it, however that ends. Knows no stages.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

FOLDER_VARIABLE = "TRSP_LOCK_DIR"
DEFAULT_FOLDER = "/tmp/trsp-locks"  # not TMPDIR, which may be one user's alone
POLL_S = 0.1


def computing_devices() -> tuple[str, ...]:
    """Return the names of what this process computes on, in order: its GPUs, or ``cpu``.

    A GPU is named by its UUID, which is one and the same for every process of the machine.
    """
    import torch

    if not torch.cuda.is_available():
        return ("cpu",)
    count = torch.cuda.device_count()
    uuids = (str(torch.cuda.get_device_properties(index).uuid) for index in range(count))
    return tuple(sorted(f"gpu-{uuid}" for uuid in uuids))


@contextmanager
def share_devices(wait_s: float, queue: bool = True) -> Iterator[str]:
    """Compute beside others, but not while somebody measures here.

    Waits up to ``wait_s`` seconds for measurements that run or, with ``queue``, wait for their
    turn; then goes on all the same. Yields "" or, where the devices are not held, why. A rank of a
    gang must not queue: a measurement may wait for its peers, which wait for it.
    """
    with _hold(fcntl.LOCK_SH, wait_s, queue) as problem:
        yield problem


@contextmanager
def own_devices(wait_s: float) -> Iterator[str]:
    """Measure, while nobody else of this machine computes on the devices of this process.

    Waits up to ``wait_s`` seconds for those who do; nobody begins meanwhile, so that a measurement
    comes to its turn. Yields "" or, where it does not have the devices for itself, why.
    """
    with _hold(fcntl.LOCK_EX, wait_s, queue=True) as problem:
        yield problem


@contextmanager
def _hold(mode: int, wait_s: float, queue: bool) -> Iterator[str]:
    """Hold the locks of all devices, taken in one order so that no two wait for each other."""
    deadline = time.monotonic() + wait_s
    with ExitStack() as stack:
        problems = [
            _hold_device(stack, name, mode, deadline, queue) for name in computing_devices()
        ]
        yield "; ".join(filter(None, problems))


def _hold_device(stack: ExitStack, name: str, mode: int, deadline: float, queue: bool) -> str:
    """Take one device's lock until the stack is closed; return why it is not held, or "".

    Whoever waits for a device holds its turnstile meanwhile, and nobody passes that: those who
    share a device would otherwise follow one another for ever.
    """
    try:
        turnstile = _open(stack, f"{name}.turn")
        device = _open(stack, f"{name}.lock")
    except OSError as error:
        return f"{name} cannot be locked: {error}"
    if queue:
        _lock(turnstile, fcntl.LOCK_EX, deadline)
    granted = _lock(device, mode, deadline)
    if not granted:  # others may wait for us all the same
        _lock(device, fcntl.LOCK_SH, deadline)
    fcntl.flock(turnstile, fcntl.LOCK_UN)
    return "" if granted else f"others computed on {name} meanwhile"


def _lock(descriptor: int, mode: int, deadline: float) -> bool:
    """Whether the lock was granted, at once or before the deadline."""
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)


def _open(stack: ExitStack, name: str) -> int:
    """Open a lock's file until the stack is closed, made if need be; any user may lock it.

    It is made by a call of its own: Linux may refuse to open another user's file where the call
    could also make it (``fs.protected_regular``).
    """
    folder = Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(PermissionError):  # another user was faster
            folder.chmod(0o1777)
    path = folder / name
    with suppress(FileExistsError):
        made = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        stack.callback(os.close, made)
        os.fchmod(made, 0o666)
        return made
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    stack.callback(os.close, opened)
    return opened
