"""Makes a grid's results without any fault, one stage after the other in this process.

    python -m tests.trials.quiet GRID HARDWARE

HARDWARE is the name of what another run of the grid measures on: it is part of keys.
"""

import sys
from pathlib import Path

from orchestrator.execution.launcher import InProcessLauncher
from orchestrator.run import run_grid


class QuietLauncher(InProcessLauncher):
    """Runs stages in this process, as if it were other hardware."""

    def __init__(self, hardware: str) -> None:
        super().__init__()
        self._hardware = hardware

    def hardware(self) -> str:
        return self._hardware


if __name__ == "__main__":
    sys.exit(run_grid(Path(sys.argv[1]), launcher=QuietLauncher(sys.argv[2])))
