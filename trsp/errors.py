"""The errors a user can cause or cure. Everything else that is raised is a bug of ours.

Each message says what came, what is allowed and the cure, in that order.
"""

from collections.abc import Iterable
from difflib import get_close_matches


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


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; of one that says nothing, its class."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a ``name`` that is not among the ``known`` ones, with the nearest.

    ``unknown selector 'gate': known are gates, sleb; did you mean 'gates'?``
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}: known are {', '.join(names)}{hint}"
