"""What people see of a run in terminals of 80 x 24 and 160 x 50, as text, for the documentation.

    python tests/terminal/captures.py docs/terminal

Runs a grid on a tiny model by a local Ray, which takes about a minute; a cell of it diverges and
fails. In the small terminal is ``trsp run``, in the large one ``trsp status --watch``. Needs tmux.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.tiny import save_tiny, tiny_text
from tests.tiny_grid import tiny_grid

ROOT = Path(__file__).resolve().parents[2]
POLL_S, LIMIT_S, SETTLE_S = 0.1, 300.0, 1.2
# A moment, and what the screen of ``trsp run`` shows at it.
MOMENTS = (
    ("beginning", r"running: [1-9][\s\S]*step [1-9]"),
    ("middle", r"[2-9] done[\s\S]*transfer +step [1-9]"),
    ("failure", r"(?m)^failed$"),
    ("end", r"exit code \d"),
)


class Terminal:
    """A terminal of its own size, in a tmux that is nobody else's."""

    def __init__(self, socket: str, name: str, width: int, height: int) -> None:
        self._tmux = ["tmux", "-L", socket, "-f", os.devnull]
        self._name = name
        size = ["-x", str(width), "-y", str(height)]
        self._do("new-session", "-d", "-s", name, *size, "env", "PS1=$ ", "bash", "--norc")

    def _do(self, *arguments: str) -> str:
        command = [*self._tmux, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def type(self, line: str) -> None:
        """Type a line and Enter."""
        self._do("send-keys", "-t", self._name, line, "Enter")

    def text(self) -> str:
        """What the terminal shows now."""
        lines = self._do("capture-pane", "-p", "-t", self._name).splitlines()
        return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"

    def wait_for(self, pattern: str) -> None:
        """Wait until the terminal shows it. TimeoutError after LIMIT_S, with what it showed."""
        until = time.monotonic() + LIMIT_S
        while not re.search(pattern, self.text()):
            if time.monotonic() > until:
                raise TimeoutError(f"{pattern!r} was never shown; last:\n{self.text()}")
            time.sleep(POLL_S)

    def wait_for_prompt(self, prompt: str) -> None:
        """Wait until a command that was typed has ended: the last line is the prompt alone."""
        time.sleep(SETTLE_S)
        self.wait_for(rf"(?m)^{re.escape(prompt.strip())}\s*\Z")

    def history(self) -> str:
        """All that the terminal has shown, also what has left it at the top."""
        shown = self._do("capture-pane", "-p", "-S", "-", "-t", self._name).rstrip()
        return "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"

    def pipe(self, command: str) -> None:
        """Give all that is shown from now on to this command, too; to none where it is empty."""
        self._do("pipe-pane", "-t", self._name, *filter(None, [command]))

    def end(self) -> None:
        """End the tmux, with all that runs in its terminals."""
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)


def grid_with_a_failure(folder: Path) -> Path:
    """A grid of 16 cells on a tiny model, of which those that train at a senseless rate diverge."""
    model = save_tiny("llama", folder / "tiny-llama")
    training = {"steps": 60, "blocks_per_step": 2}
    return tiny_grid(
        folder,
        model,
        tiny_text(folder),
        name="tiny",
        selectors=[{"name": "gates", "steps_per_round": 40, "blocks_per_step": 2}],
        ratios=[0.2, 0.5],
        transfer=[
            "none",
            {"name": "drift", **training, "learning_rate": 1e-3},
            {"name": "heal", **training, "learning_rate": 1e-3},
            {"name": "heal", **training, "learning_rate": 1e4},
        ],
        measurement={"protocol": "none"},
        budgets=[{"max_params": "60k"}],
    )


@contextmanager
def terminals() -> Iterator[tuple[Terminal, Terminal]]:
    """A small and a large terminal."""
    socket = f"trsp-captures-{os.getpid()}"
    small = Terminal(socket, "small", 80, 24)
    try:
        yield small, Terminal(socket, "large", 160, 50)
    finally:
        small.end()


def capture(out: Path) -> None:
    """Run the grid, and write what both terminals show at each moment."""
    with tempfile.TemporaryDirectory(prefix="trsp-captures-") as folder, terminals() as both:
        grid = grid_with_a_failure(Path(folder))
        trsp = shlex.join([sys.executable, "-m", "orchestrator"])
        small, large = both
        for terminal in both:
            terminal.type(f'cd {folder}; trsp() {{ PYTHONPATH={ROOT} {trsp} "$@"; }}')
            terminal.type(f"export HOME={folder} OMP_NUM_THREADS=1 RAY_AUTH_MODE=disabled; clear")
        small.type(f"trsp run {grid.name}; echo exit code $?")
        for number, (moment, shown) in enumerate(MOMENTS, start=1):
            small.wait_for(shown)
            if number == 1:
                large.type(f"trsp status --watch --every 1 {grid.name}")
                large.wait_for("running:")
            if number == len(MOMENTS):
                large.wait_for(r"cells done")
            time.sleep(SETTLE_S)
            for terminal, size in zip(both, ("80x24", "160x50"), strict=True):
                (out / f"{number}-{moment}-{size}.txt").write_text(terminal.text())


if __name__ == "__main__":
    to = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/terminal")
    to.mkdir(parents=True, exist_ok=True)
    capture(to)
