"""What a living driver says of its grid beside what the store holds: what runs now, and how far.

It goes with the driver's signs of life, so that whoever reaches the store sees it. Old within
seconds, and for people alone: nothing is decided by it.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from pydantic import TypeAdapter, ValidationError

MOST_TOLD = 200  # stages of a kind that a sign of life speaks of: it is written every few seconds


@dataclass(frozen=True)
class Work:
    """A stage that computes now."""

    since: float  # seconds since the epoch
    progress: str = ""  # how far it has come, in words: "step 12 of 320, loss 2.713"
    where: str = ""  # "10.0.0.3, GPU 2"; empty where there is one place only


@dataclass(frozen=True)
class DriverNews:
    """What the driver of a grid does now, by the keys of stages."""

    began: float = 0.0  # of the driver, in seconds since the epoch
    working: Mapping[str, Work] = field(default_factory=dict)
    waits: Mapping[str, str] = field(default_factory=dict)  # for what
    given_up: Mapping[str, str] = field(default_factory=dict)  # why

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; of each of the last three the first MOST_TOLD."""
        return {
            "began": self.began,
            "working": {key: asdict(work) for key, work in _first(self.working.items())},
            "waits": dict(_first(self.waits.items())),
            "given_up": dict(_first(self.given_up.items())),
        }


def _first(items: Any) -> Any:
    return islice(items, MOST_TOLD)


_NEWS = TypeAdapter(DriverNews)


def news_of(said: Mapping[str, Any]) -> DriverNews:
    """Return what a sign of life says; nothing where that was another version's."""
    with suppress(ValidationError):
        return _NEWS.validate_python(said)
    return DriverNews()
