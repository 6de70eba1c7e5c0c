"""Whether a command that a page shows would be understood: by our own parsers, without running it.

``check`` raises AssertionError, or typer's own error of usage, where it would not be.
"""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from typer.core import TyperGroup
from typer.main import get_command

import orchestrator.cli  # noqa: F401, it adds every command
from orchestrator.commands.app import app
from tests.rooms import ROOT

# What pages show that is not ours, or needs what no test has; and why it is not looked at.
NOT_OURS = {
    "export TRSP_STORE=": "sets a variable of the shell",
    "source .venv/bin/activate": "changes the shell that it is typed in",
    "ray up": "needs an account of a cloud",
    "ray dashboard": "needs the cluster of ray up",
    "python convert_hf_to_gguf.py": "belongs to llama.cpp",
}
OWN_FILES = {"my-grid.yaml"}  # a reader's, as the page says
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*")
_MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def check(command: str) -> None:
    """Raise unless the command's program, its options and its files are there."""
    if command.startswith(tuple(NOT_OURS)):
        return
    words = shlex.split(command.partition(" > ")[0])
    if words[:3] == ["ray", "job", "submit"]:
        words = _submitted(words[3:])
    match words:
        case ["trsp", *arguments] | ["python", "-m", "orchestrator", *arguments]:
            _check_trsp(arguments)
        case ["make", *arguments]:
            _check_make(arguments)
        case ["python", "-m", module, *arguments]:
            _check_script(ROOT / f"{module.replace('.', '/')}.py", arguments)
        case ["python", script, *arguments]:
            _check_script(ROOT / script, arguments)
        case ["pytest", *arguments]:
            _check_files(each for each in arguments if "/" in each)
        case _:
            raise AssertionError(f"no program that pages are known to show: {command}")


def commands() -> TyperGroup:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def _submitted(words: Sequence[str]) -> list[str]:
    """Return what a submitted job runs: a grid file runs itself."""
    assert "--working-dir" in words, "a job needs the code: --working-dir"
    _, _, *entrypoint = words[words.index("--") - 1 :]
    return ["trsp", *entrypoint] if _is_grid(entrypoint[0]) else entrypoint


def _check_trsp(arguments: list[str]) -> None:
    """Parse the arguments by the command's own parser; nothing but its name: the name is known."""
    if _is_grid(arguments[0]):
        arguments = ["run", *arguments]
    name, *rest = arguments
    if _PLACEHOLDER.fullmatch(name) or name.startswith("--"):
        assert set(arguments) <= {"COMMAND", "--help", "--version", "--install-completion"}
        return
    assert name in commands().commands, f"no command {name}"
    if any("[" in each for each in rest):  # how it is used, not a use
        offered = _offered(name)
        rest = [each.strip("[]") for each in rest]
        assert {each for each in rest if each.startswith("--")} <= offered
    elif rest and "--help" not in rest:
        commands().commands[name].make_context(name, list(rest))
    _check_files(filter(_is_grid, rest))


def _offered(name: str) -> set[str]:
    return {option for param in commands().commands[name].params for option in param.opts}


def _is_grid(word: str) -> bool:
    return word.endswith(".yaml")


def _check_make(arguments: Iterable[str]) -> None:
    for each in arguments:
        variable, sign, _ = each.partition("=")
        pattern = rf"\$\({variable}\)" if sign else rf"^{re.escape(each)}:.*##"
        assert re.search(pattern, _MAKEFILE, re.M), f"the Makefile has no {each}"


def _check_script(script: Path, arguments: Iterable[str]) -> None:
    """The script is there and names the options; it is not imported, for that may take seconds."""
    assert script.is_file(), f"no script {script}"
    source = script.read_text(encoding="utf-8")
    for option in (each for each in arguments if each.startswith("-")):
        assert f'"{option}"' in source, f"{script.name} has no {option}"


def _check_files(names: Iterable[str]) -> None:
    missing = [name for name in names if not (ROOT / name).exists()]
    assert not set(missing) - OWN_FILES, f"no such files: {missing}"
