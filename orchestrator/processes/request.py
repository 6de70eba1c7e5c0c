"""What a process is called with, and by what it answers. Pure data."""

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.processes.folder import present_folder

KEPT_S = 3.0  # for which a process waits for a call that may follow


@dataclass(frozen=True)
class Call:
    """A function to be run in a process of its own, and its surroundings there.

    ``target`` is ``package.module:function``; it is called with the payload, which is a JSON value,
    and a Channel. ``environment``: all the variables of the process. ``title``: its name, for
    people. ``may_follow``: whether it may run in a process that has run another such call with the
    same environment. ``forks``: whether its process may be one that was forked, which has in memory
    all that its server has imported; else it has only what itself imports.
    """

    target: str
    payload: Any
    environment: Mapping[str, str]
    title: str = ""
    may_follow: bool = False
    forks: bool = True


@dataclass(frozen=True)
class Raised:
    """An error that the function raised, in words."""

    error: str  # the name of its class
    message: str
    traceback: str


@dataclass(frozen=True)
class Ended:
    """How a call ended.

    ``returned``: the function came to its end, with ``result``, a JSON value. Else ``raised`` is
    the error that it raised; and where its process was lost, neither: then ``status`` is the exit
    code, or the signal, negative, that ended it, None where it is not known. ``out_of_memory``: the
    kernel ended it because there was no memory left.
    """

    returned: bool
    result: Any = None
    raised: Raised | None = None
    status: int | None = None
    out_of_memory: bool = False


@dataclass(frozen=True)
class Request:
    """A call as it travels to its process, with what that takes over from the caller's."""

    target: str
    payload: Any
    environment: Mapping[str, str]
    title: str
    may_follow: bool
    kept_s: float
    path: list[str]
    folder: str
    cpus: list[int]
    oom_score: str
    umask: int

    @classmethod
    def of(cls, call: Call) -> "Request":
        """Return the request for a call of this process."""
        umask = os.umask(0o077)
        os.umask(umask)
        return cls(
            target=call.target,
            payload=call.payload,
            environment=dict(call.environment),
            title=call.title,
            may_follow=call.may_follow,
            kept_s=KEPT_S,
            path=list(sys.path),
            folder=present_folder(),
            cpus=sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [],
            oom_score=_oom_score(),
            umask=umask,
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _oom_score() -> str:
    """Return how gladly the kernel ends this process when memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
