"""A first session in a terminal, recorded: from ``trsp init`` to text that the pruned model writes.

    python tests/terminal/session.py MODEL TEXT docs/terminal/first-session

Writes ``.cast``, which asciinema plays, and ``.txt``, all that the terminal showed. Needs tmux, and
two to three minutes on two quiet cores with a model of 135M.
"""

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.terminal.captures import ROOT, Terminal

WIDTH, HEIGHT = 100, 30
PROMPT = "$ "
GENERATE = """\
from transformers import pipeline
write = pipeline("text-generation", "pruned")
print(write("The most important thing about the sea is", max_new_tokens=25)[0]["generated_text"])
"""
STEPS = (
    "trsp init model --text text.jsonl --max-params 125M --hours 0.01",
    "trsp run grid.yaml",
    "trsp best grid.yaml",
    'trsp export "block_influence heal" grid.yaml --to pruned',
    "python generate.py",
)


@contextmanager
def recorded(terminal: Terminal, cast: Path) -> Iterator[None]:
    """While open, all that the terminal shows goes to an asciicast of version 2."""
    command = shlex.join([sys.executable, str(Path(__file__).resolve()), "--into", str(cast)])
    terminal.pipe(command)
    try:
        yield
    finally:
        terminal.pipe("")


def write_cast(cast: Path) -> None:
    """Write what comes on stdin, with the moment at which it came."""
    begun = time.monotonic()
    header = {"version": 2, "width": WIDTH, "height": HEIGHT, "title": "trsp: a first session"}
    with cast.open("w", encoding="utf-8") as out:
        print(json.dumps(header), file=out)
        while piece := os.read(0, 1 << 16):
            text = piece.decode("utf-8", errors="replace")
            print(json.dumps([round(time.monotonic() - begun, 3), "o", text]), file=out, flush=True)


def prepare(folder: Path, model: Path, text: Path) -> None:
    """Lay out what a person has: a model, a text, and three lines of Python."""
    (folder / "model").symlink_to(model.resolve())
    (folder / "text.jsonl").symlink_to(text.resolve())
    (folder / "generate.py").write_text(GENERATE, encoding="utf-8")


def play(folder: Path, out: Path) -> None:
    """Type the session and wait for the end of each step."""
    terminal = Terminal(f"trsp-session-{os.getpid()}", "session", WIDTH, HEIGHT)
    trsp = shlex.join([sys.executable, "-m", "orchestrator"])
    try:
        terminal.type(
            f'cd {folder}; trsp() {{ {trsp} "$@"; }}; python() {{ {sys.executable} "$@"; }}'
        )
        terminal.type(
            f"export PYTHONPATH={ROOT} HOME={folder} RAY_AUTH_MODE=disabled PS1='{PROMPT}'"
        )
        terminal.type("export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error; clear")
        time.sleep(1)
        with recorded(terminal, out.with_suffix(".cast")):
            for step in STEPS:
                terminal.type(step)
                terminal.wait_for_prompt(PROMPT)
        out.with_suffix(".txt").write_text(terminal.history(), encoding="utf-8")
        for written in (out.with_suffix(".txt"), out.with_suffix(".cast")):
            shown = written.read_text(encoding="utf-8").replace(str(folder), "~")
            written.write_text(shown, encoding="utf-8")
    finally:
        terminal.end()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("text", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.into:
        write_cast(asked.into)
        return
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="trsp-session-") as name:
        prepare(Path(name), asked.model, asked.text)
        play(Path(name), asked.out.resolve())
    print(f"{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
