"""How much of the host's memory new tensors may take, as the system and its container say.

No torch; knows nothing of models or stages.
"""

import os
import re
from pathlib import Path

SHARE_OF_FREE = 0.5  # at most, for what could be done without: the rest is for what is yet to come

_MEMINFO = Path("/proc/meminfo")
# A container's limit, what it takes, and how much of that are file pages that nobody needs: of
# control groups of version 2 and of version 1.
_GROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (
        Path("/sys/fs/cgroup/memory"),
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def has_room(size_bytes: int) -> bool:
    """Whether this rank may take so many bytes of its host for what could be done without them.

    That is where every rank of this host may take as many, and half of what is free stays so. False
    where the system does not say what is free.
    """
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return size_bytes * ranks_here <= SHARE_OF_FREE * free_host_bytes()


def free_host_bytes() -> int:
    """The bytes of host memory that are free or can be freed at once; 0 where nothing says so.

    Within a container with a limit, what is left of that, if it is less.
    """
    free = _number(r"^MemAvailable:\s+(\d+) kB", _text(_MEMINFO))
    if free is None:
        return 0
    left = [each for group in _GROUPS if (each := _left_of_group(*group)) is not None]
    return max(0, min([free * 1024, *left]))


def _left_of_group(folder: Path, limit: str, taken: str, files: str) -> int | None:
    """The bytes that are left of a control group's limit; None where there is none."""
    most, used = (_number(r"^(\d+)$", _text(folder / name)) for name in (limit, taken))
    if most is None or used is None:
        return None
    unneeded = _number(rf"^{files} (\d+)$", _text(folder / "memory.stat"))
    return most - used + (unneeded or 0)


def _number(pattern: str, text: str) -> int | None:
    """The number that the pattern finds in the text; None where it finds none (``max``)."""
    found = re.search(pattern, text, re.MULTILINE)
    return int(found[1]) if found else None


def _text(path: Path) -> str:
    """The content of a file of the system; empty where there is no such file."""
    try:
        return path.read_text()
    except OSError:
        return ""
