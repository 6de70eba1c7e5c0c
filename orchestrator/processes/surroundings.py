"""Gives a forked process what a fresh one of its caller would have had.

Most is read when a library is imported, which was before the fork: the fork server's name knows
those variables (``place``), so that its processes have them as they are. The others are set here.
"""

import os
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress

from orchestrator.processes.kernel import GPU_VARIABLES, set_name
from orchestrator.processes.request import Request

# What differs between two callers that may share a server, because nothing reads it at import, or
# because it is made good here. Ray gives a task its devices and threads by these.
THREADS = "OMP_NUM_THREADS"
_DIFFER = frozenset((*GPU_VARIABLES, THREADS, "PWD", "OLDPWD", "SHLVL", "_", "TMPDIR"))
_DIFFER_BY_PREFIX = ("RAY_", "TRSP_", "PYTEST_")
_FRESH_SEED = 67280421310721  # torch's own, of a process that has set none


def lasting(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that may be read when something is imported."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _DIFFER and not name.startswith(_DIFFER_BY_PREFIX)
    }


def hides_gpus(environment: Mapping[str, str]) -> bool:
    """Whether a process with these variables sees no GPU, though there may be some.

    Libraries may ask for GPUs as they are imported, and keep the answer.
    """
    return environment.get(GPU_VARIABLES[0]) == ""


def take_over(request: Request) -> None:
    """Make this process like a fresh one of the caller's. OSError: its folder is gone."""
    set_environment(request.environment)
    sys.path[:] = request.path
    os.chdir(request.folder)
    os.umask(request.umask)
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setaffinity(0, request.cpus)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(request.oom_score)
    set_name(request.title)
    tempfile.tempdir = None  # it is looked up again
    time.tzset()
    set_threads(request.environment)
    seed_afresh()


def set_environment(environment: Mapping[str, str]) -> None:
    """Make these all the variables of this process, for its libraries in C as well."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def set_threads(environment: Mapping[str, str]) -> None:
    """Give torch, where it is loaded, the threads that the variable asks for, else one per CPU."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    asked = environment.get(THREADS, "").partition(",")[0].strip()
    number = int(asked) if asked.isdigit() and int(asked) else _cpus()
    torch.set_num_threads(number)


def _cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else (os.cpu_count() or 1)


def seed_afresh() -> None:
    """Seed generators as a fresh process finds them; a forked one has those of its parent."""
    random.seed()
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed()
    if (torch := sys.modules.get("torch")) is not None:
        torch.random.default_generator.manual_seed(_FRESH_SEED)
