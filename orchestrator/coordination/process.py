"""Which process is which: of this boot and this PID namespace, its number and its start.

Host names are for people only: containers share one, and machines get the same one again.
"""

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, as others can know it. Empty texts stand for what is not known, as without /proc.

    A PID means a process only within its namespace, and that only within one boot of a kernel.
    """

    pid: int
    host: str = ""
    boot: str = ""  # the kernel's random boot id
    namespace: str = ""  # of PIDs
    start: str = ""  # in clock ticks since the boot

    @classmethod
    def here(cls) -> "ProcessIdentity":
        """This process."""
        pid = os.getpid()
        return cls(pid, socket.gethostname(), *_kernel(), _start(pid) or "")

    @property
    def text(self) -> str:
        """The process for people: ``process 1234 on node-1``."""
        return f"process {self.pid} on {self.host}"

    def is_near(self, other: "ProcessIdentity") -> bool:
        """Whether each of the two processes can look up the other by its number."""
        known = self.boot and self.namespace and self.start
        return bool(known) and (self.boot, self.namespace) == (other.boot, other.namespace)

    def is_gone(self) -> bool:
        """Whether the process is known to have ended. False where nobody here can know that."""
        if not self.is_near(self.here()):
            return False
        start = _start(self.pid)
        return not _exists(self.pid) if start is None else start != self.start


@cache
def _kernel() -> tuple[str, str]:
    """The boot id and the PID namespace of this process; empty texts where they are not known."""
    boot = namespace = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return boot, namespace


def _start(pid: int) -> str | None:
    """When a process of this PID namespace began, in clock ticks since boot (proc(5), field 22).

    Empty when it is over, and only its parent has not taken note of that (state Z). None where that
    cannot be read: there is no such process, or it is another user's and hidden (``hidepid``).
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = status.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def _exists(pid: int) -> bool:
    """Whether a process of this PID namespace has this number, whoever's it is."""
    try:
        os.kill(pid, 0)
    except OSError as error:  # also where it is not ours to signal
        return not isinstance(error, ProcessLookupError)
    return True
