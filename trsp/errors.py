"""The errors a user can cause or cure. Everything else that is raised is a bug of ours.

Each message says what came, what is allowed and the cure, in that order.
"""

import errno
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

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
_NUMBER = re.compile(r"\(os error (\d+)\)")  # how libraries in Rust name it
# Classes of HTTP libraries for a server that does not answer, by name: they need not be loaded.
_NO_ANSWER = frozenset({"TransportError", "Timeout", "ConnectionError", "TimeoutError"})
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


class TrspError(Exception):
    """Base of every error whose message is for the user; the CLI prints it without a traceback."""


class InvalidInputError(TrspError, ValueError):
    """A setting, file or model that cannot be used as given.

    Raised before anything expensive starts.
    """


class UnknownFamilyError(InvalidInputError):
    """A model whose ``config.model_type`` is not in the table of decoder families."""


class CalibrationTooShortError(InvalidInputError):
    """The calibration or evaluation text holds fewer tokens than one block or window."""


class StoreError(TrspError, OSError):
    """The store of stage results cannot be read or written."""


class UnreachableError(TrspError, OSError):
    """A hub or a file system that gave no answer. What was asked for may well be there."""


class WrongDeviceError(TrspError, RuntimeError):
    """This process computes on another kind of device than it was asked to: another may not."""


class TrackingError(TrspError, OSError):
    """The tracking server cannot be reached or refuses us."""


class TrainingDivergedError(TrspError, ArithmeticError):
    """A loss, gradient, gate, score or weight is NaN or infinite, or a loss exploded."""


class PreemptedError(TrspError, RuntimeError):
    """This process was told to go, and went at the end of a step.

    What was done is in a snapshot, if there is a place for one.
    """


def may_pass(error: BaseException) -> bool:
    """Whether reading failed for a reason that may be gone at the next attempt.

    That is a server without an answer or a file system in trouble, here or in what the error came
    from; not a file that is missing, forbidden or damaged, nor a hub that nobody may ask.
    """
    causes = list(_causes(error))
    if any(_OFFLINE in f"{type(each).__name__}: {each}" for each in causes):
        return False
    return any(_may_pass_alone(each) for each in causes)


def _may_pass_alone(error: BaseException) -> bool:
    names = {base.__name__ for base in type(error).__mro__}
    if names & _NO_ANSWER:
        return True
    if _HUB_ANSWER in names and not names & _HUB_REFUSALS:
        return True
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _NUMBER.search(str(error))):
        number = int(found[1])
    return number is not None and number not in _LASTING


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was made of or came up under, nearest first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        yield current
        seen.add(id(current))
        current = current.__cause__ or current.__context__


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a ``name`` that is not among the ``known`` ones, with the nearest.

    ``unknown selector 'gate': known are gates, sleb; did you mean 'gates'?``
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}: known are {', '.join(names)}{hint}"
