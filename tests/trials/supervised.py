"""A driver under something that starts it again, as a job manager or a user would."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

AHEAD = Path(__file__).parent / "ahead"
BEGAN = "leaderboard: "  # a driver prints it when its checks are over and it begins to step
TAIL_LINES = 12


@dataclass(frozen=True)
class End:
    """How one process of a driver ended."""

    driver: int
    code: int
    began_at: float  # seconds of the monotonic clock
    ended_at: float
    killed: bool  # by a fault
    stepped: bool  # whether it had come past its checks
    printed: str  # its last lines


@dataclass
class SupervisedDriver:
    """``trsp run GRID`` on a cluster, started again until it ends with 0."""

    number: int
    grid: Path
    address: str
    ends: list[End] = field(default_factory=list)
    clock_ahead_s: float = 0.0  # of the next process
    _process: subprocess.Popen[bytes] | None = None
    _began_at: float = 0.0
    _killed: bool = False
    _stopped: bool = False

    @property
    def log(self) -> Path:
        """What its present process prints."""
        return self.grid.with_suffix(f".driver-{self.number}-{len(self.ends)}.log")

    @property
    def finished(self) -> bool:
        """Whether it has ended with 0."""
        return bool(self.ends) and self.ends[-1].code == 0

    @property
    def runs(self) -> bool:
        """Whether its process is there and not stopped."""
        return self._process is not None and not self._stopped

    def start(self) -> None:
        """Start its process."""
        self._began_at, self._killed, self._stopped = time.monotonic(), False, False
        command = [sys.executable, "-m", "orchestrator", "run", str(self.grid)]
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, "--address", self.address],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | self._clock(),
                cwd=self.grid.parent,
                start_new_session=True,
            )

    def tend(self) -> End | None:
        """Return how its process ended, if it has, and start the next unless it has finished."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        printed = self.log.read_text(encoding="utf-8", errors="replace")
        tail = "\n".join(_telling(printed)[-TAIL_LINES:])
        times = self._began_at, time.monotonic()
        end = End(self.number, code, *times, self._killed, BEGAN in printed, tail)
        self.ends.append(end)
        self._process = None
        if code != 0:
            self.start()
        return end

    def kill(self) -> None:
        """End its process at once."""
        self._killed = True
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        """Stop its process, with all of its threads."""
        self._stopped = True
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let its process go on, if it is still there."""
        self._stopped = False
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End its process, and start no other."""
        if self._process is not None:
            self.kill()
            self._process.wait()
            self._process = None

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _clock(self) -> Mapping[str, str]:
        """The environment by which the next process has its clock ahead."""
        ahead, self.clock_ahead_s = self.clock_ahead_s, 0.0
        if not ahead:
            return {}
        path = f"{AHEAD}{os.pathsep}{os.environ['PYTHONPATH']}"
        return {"PYTHONPATH": path, "TRIAL_CLOCK_AHEAD_S": str(ahead)}


def _telling(printed: str) -> list[str]:
    """The lines that a driver printed of its own: no tables, and nothing that Ray says of nodes."""
    others = ("    [", "(raylet", "\x1b", "\u2502", "\u250f", "\u2503", "\u2521", "\u2514")
    return [line for line in printed.splitlines() if line.strip() and not line.startswith(others)]
