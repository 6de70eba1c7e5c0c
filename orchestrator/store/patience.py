"""Reads and writes that are tried again while a store is away for a moment. Knows no files."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

# Before the second and the third attempt: an outage of a second costs nobody anything.
WAITS_S = (0.5, 2.0)
# What a store answers, in place of an outage: asked again, it would say the same.
_ANSWERS = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
_LASTING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP}
)
_T = TypeVar("_T")


def patiently(work: Callable[[], _T]) -> _T:
    """Return what ``work`` returns, called up to three times while the store gives no answer.

    ``work`` must be such that doing it twice is as good as once. Raises its last OSError.
    """
    for wait_s in WAITS_S:
        try:
            return work()
        except OSError as error:
            if isinstance(error, _ANSWERS) or error.errno in _LASTING:
                raise
        time.sleep(wait_s)
    return work()
