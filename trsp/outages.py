"""Which errors are outages: a hub, a store or a file system that gives no answer now. Pure.

Errors are known by number, name and words: the libraries that raise them need not be loaded.
"""

import errno
import re
from collections.abc import Iterator

# Numbers of errors that say of a file that it is not there, or not ours to read.
_LASTING = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EACCES,
        errno.EPERM,
        errno.ELOOP,
        errno.ENAMETOOLONG,
    }
)
# Numbers of errors of networks, and of file systems that lie behind one.
_OUTAGES = frozenset(
    {
        errno.EAGAIN,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EIO,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.EPIPE,
        errno.EREMOTEIO,
        errno.ESHUTDOWN,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
_NUMBER = re.compile(r"\(os error (\d+)\)")  # how libraries in Rust name it
# Classes for a server that does not answer: of the HTTP libraries, of Python's sockets.
_NO_ANSWER = frozenset(
    {
        "ClientConnectionError",
        "ClientPayloadError",
        "ConnectionError",
        "FSTimeoutError",
        "IncompleteRead",
        "Timeout",
        "TimeoutError",
        "TransportError",
        "UnreachableError",
        "gaierror",
    }
)
_OFFLINE = "OfflineModeIsEnabled"  # the hub's library, where HF_HUB_OFFLINE is set
# Of the errors that a hub answers with, those that are about what was asked for.
_HUB_ANSWER, _HUB_REFUSALS = (
    "HfHubHTTPError",
    frozenset(
        {
            "BadRequestError",
            "DisabledRepoError",
            "EntryNotFoundError",
            "RepositoryNotFoundError",
            "RevisionNotFoundError",
        }
    ),
)
_BUSY = frozenset({408, 425, 429})  # of a server's refusals of a client's request, those that pass
# What object stores, the hub and their libraries say in errors of no particular class.
_WORDS = re.compile(
    r"AWS Error (NETWORK_CONNECTION|INTERNAL_FAILURE|SERVICE_UNAVAILABLE|THROTTLING|SLOW_DOWN"
    r"|REQUEST_TIMEOUT|REQUEST_EXPIRED)"
    r"|HTTP (status|response code):? (408|425|429|5\d\d)\b|(status|error) (code )?(429|50\d)\b"
    r"|\b(500 Internal Server Error|502 Bad Gateway|503 |504 Gateway|429 Too Many Requests)"
    r"|SlowDown|ServiceUnavailable|couldn't connect to|could ?n[o']t (connect|resolve host|reach)"
    r"|connection (closed|refused|reset|timed out|aborted)|error sending request"
    r"|operation timed out|timeout was reached|server disconnected|temporarily unavailable"
    r"|name resolution|stale file handle|transport endpoint|specific connection error"
    r"|consistency check failed",
    re.IGNORECASE,
)


def is_outage(error: BaseException) -> bool:
    """Whether an error, or what it came from, is one of a server or file system that is away.

    The same request may then be answered later. What a server answers (absent, forbidden, full) is
    none, nor is a hub that nobody may ask.
    """
    causes = list(_causes(error))
    return not _is_offline(causes) and any(map(_is_outage_alone, causes))


def may_pass(error: BaseException) -> bool:
    """Whether reading failed for a reason that may be gone at the next attempt.

    That is an outage or any trouble of a file system, here or in what the error came from; not a
    file that is missing, forbidden or damaged, nor a hub that nobody may ask.
    """
    causes = list(_causes(error))
    if _is_offline(causes):
        return False
    return any(_is_outage_alone(each) or _is_trouble(each) for each in causes)


def _is_offline(causes: list[BaseException]) -> bool:
    return any(_OFFLINE in f"{type(each).__name__}: {each}" for each in causes)


def _is_outage_alone(error: BaseException) -> bool:
    """Whether an error is an outage, whatever it came from."""
    names = {base.__name__ for base in type(error).__mro__}
    number = number_of(error)
    if number is not None and number in _LASTING:
        return False
    if _HUB_ANSWER in names:
        return not names & _HUB_REFUSALS and _passes(_status_of(error))
    if names & _NO_ANSWER or number in _OUTAGES:
        return True
    return "OSError" in names and number is None and bool(_WORDS.search(str(error)))


def _is_trouble(error: BaseException) -> bool:
    """Whether the operating system has failed at something that is there and ours to read."""
    number = number_of(error)
    return number is not None and number not in _LASTING


def number_of(error: BaseException) -> int | None:
    """Return the operating system's number of an error; None where it has none."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _NUMBER.search(str(error))):
        number = int(found[1])
    return number


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error of the hub's library was made of; None: unknown."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _passes(status: int | None) -> bool:
    """Whether a server that answers with this status may answer otherwise later."""
    return status is None or status >= 500 or status in _BUSY


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was made of or came up under, nearest first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        yield current
        seen.add(id(current))
        current = current.__cause__ or current.__context__
