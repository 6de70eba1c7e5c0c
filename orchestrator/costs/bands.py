"""What is expected of a number, with the least and the most that it may be. Pure."""

from dataclasses import dataclass

from orchestrator.scheduler.expected.durations import Knowledge

# By so much an estimate of seconds may be wrong, by what it rests on: docs/seconds.md.
MAY_ERR = {
    Knowledge.MODEL: 1.15,
    Knowledge.METHOD: 1.3,
    Knowledge.KIND: 1.5,
    Knowledge.DEVICE: 1.75,
    Knowledge.NOTHING: 2.0,
}


@dataclass(frozen=True)
class Band:
    """A number of which ``likely`` is expected; all three have one unit."""

    low: float = 0.0
    likely: float = 0.0
    high: float = 0.0

    @classmethod
    def between(cls, least: float, most: float, may_err: float = 1.0) -> "Band":
        """Return the band of what lies between two estimates, both wrong by a factor at most."""
        return cls(least / may_err, (least + most) / 2, most * may_err)

    def __add__(self, other: "Band") -> "Band":
        """Return the sum, as if both erred alike."""
        return Band(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def __mul__(self, factor: float) -> "Band":
        return Band(self.low * factor, self.likely * factor, self.high * factor)
