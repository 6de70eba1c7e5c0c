"""A finding: one thing that was looked at, what was seen, and what to do about it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from trsp.errors import first_line

ALL_WELL, SOMETHING_WRONG = 0, 1  # exit codes
_LONGEST = 300  # characters of an error that are shown
# Ray's errors, by name: it is not imported here.
_NODE_IS_GONE = frozenset({"TaskUnschedulableError", "NodeDiedError", "LocalRayletDiedError"})


class Verdict(StrEnum):
    """How it stands. A warning costs speed or certainty; what is wrong makes a run fail."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """What one check saw in one place. ``cure`` is empty where nothing needs one."""

    check: str  # versions, store, ...
    where: str  # driver, node 2, ...
    verdict: Verdict
    seen: str
    cure: str = ""

    def as_dict(self) -> dict[str, str]:
        """The finding as plain values."""
        return {
            "check": self.check,
            "where": self.where,
            "verdict": str(self.verdict),
            "seen": self.seen,
            "cure": self.cure,
        }


def fine(check: str, where: str, seen: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check, where, Verdict.OK, seen)


def wrong(check: str, where: str, seen: str, cure: str) -> Finding:
    """Return a finding of what will make a run fail."""
    return Finding(check, where, Verdict.WRONG, seen, cure)


def warning(check: str, where: str, seen: str, cure: str) -> Finding:
    """Return a finding of what costs speed, memory or certainty."""
    return Finding(check, where, Verdict.WARNING, seen, cure)


def skipped(check: str, where: str, why: str) -> Finding:
    """Return a finding that a check was not made, and why."""
    return Finding(check, where, Verdict.SKIPPED, why)


def unanswered(check: str, where: str, error: BaseException, hang_cure: str) -> Finding:
    """Return the finding of a check that raised ``error``; TimeoutError: it did not end in time."""
    if isinstance(error, TimeoutError):
        return wrong(check, where, str(error), hang_cure)
    if isinstance(error, ModuleNotFoundError):
        return wrong(
            check,
            where,
            one_line(error),
            "install this project and its libraries there as on the driver; `trsp submit FILE` "
            "sends its code along, and no libraries",
        )
    if type(error).__name__ in _NODE_IS_GONE:
        return wrong(
            check,
            where,
            "Ray starts nothing there any more: the node is gone, or about to be",
            "see `ray status` and Ray's logs on that machine, then start Ray there again",
        )
    cure = "see to what the message names; Ray's logs on that machine have all of it"
    return wrong(check, where, one_line(error), cure)


def one_line(error: BaseException) -> str:
    """Return an error's class and the first line of its message, cut where it is long."""
    name, said = type(error).__name__, first_line(error)
    return name if said == name else f"{name}: {said}"[:_LONGEST]


def split_answers(answers: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, BaseException]]:
    """Return the answers of those that gave one, and the errors of the others, both by name."""
    errors = {name: value for name, value in answers.items() if isinstance(value, BaseException)}
    return {name: value for name, value in answers.items() if name not in errors}, errors


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 where anything is wrong, else 0: warnings do not fail."""
    is_wrong = any(finding.verdict is Verdict.WRONG for finding in findings)
    return SOMETHING_WRONG if is_wrong else ALL_WELL


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings with those that differ in their place alone made one, in order."""
    places: dict[tuple[str, Verdict, str, str], list[str]] = {}
    for finding in findings:
        alike = (finding.check, finding.verdict, finding.seen, finding.cure)
        places.setdefault(alike, []).append(finding.where)
    return tuple(
        Finding(check, named(where), verdict, seen, cure)
        for (check, verdict, seen, cure), where in places.items()
    )


def named(names: Sequence[str]) -> str:
    """Return names for people, the many shortened: ``node 1, node 2 and 9 more``."""
    names = list(dict.fromkeys(names))
    if len(names) <= 4:
        return ", ".join(names)
    return f"{', '.join(names[:2])} and {len(names) - 2} more"
