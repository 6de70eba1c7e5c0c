"""Every command that README and docs show is understood, and those that cost nothing are run."""

import shlex
from pathlib import Path

import pytest

from orchestrator.cli import main
from tests.docs.commands import NOT_OURS, OWN_FILES, check
from tests.docs.pages import PAGES, blocks, shown_commands
from tests.rooms import ROOT

SHOWN = [(page, command) for page in PAGES for command in shown_commands(page)]
CHEAP = (
    "trsp plan jobs/grid.yaml --gpus 16 --gpu H100 --price 2.5",
    "trsp init --example grid",
    "trsp schema",
)


@pytest.mark.parametrize(
    ("page", "command"), SHOWN, ids=[f"{page.stem}: {command}" for page, command in SHOWN]
)
def test_a_shown_command_would_be_understood(page: Path, command: str) -> None:
    check(command)


@pytest.mark.parametrize(
    "command",
    [
        "trsp plan --jsn jobs/demo.yaml",
        "trsp plans jobs/demo.yaml",
        "trsp plan jobs/none.yaml",
        "trsp best jobs/demo.yaml --max-latency-ms fast",
        "trsp doctor [FILE] [--adress]",
        "jobs/demo.yaml",
        "make demos",
        "make demo DEMO=1",
        "python -m benchmarks.nothing",
        "python benchmarks/memory.py --larger",
        "pytest tests/nothing",
        "ray job submit --working-dir . -- jobs/none.yaml",
        "ray job submit -- jobs/demo.yaml",
        "ray job submit --working-dir . -- python -m orchestrator doctors jobs/demo.yaml",
        "rm -rf store",
    ],
)
def test_a_wrong_command_would_be_found(command: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011, an assertion or a parser's own error
        check(command)


def test_commands_stand_in_blocks_of_the_shell() -> None:
    programs = {command.split()[0] for _, command in SHOWN}
    assert not [
        (page.name, block)
        for page in PAGES
        for language, block in blocks(page)
        if not language and block.split()[:1] and block.split()[0] in programs
    ]


def test_what_is_said_not_to_be_ours_is_shown() -> None:
    assert not [known for known in NOT_OURS if not any(each.startswith(known) for _, each in SHOWN)]


def test_a_readers_own_file_is_spoken_of_before_it_is_used() -> None:
    for page, command in SHOWN:
        for name in OWN_FILES & set(shlex.split(command)):
            text = page.read_text(encoding="utf-8")
            assert f"`{name}`" in text[: text.index(command)]


@pytest.mark.parametrize("command", CHEAP)
def test_a_shown_command_that_costs_nothing_succeeds(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command in {each for _, each in SHOWN}
    monkeypatch.setenv("TRSP_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").symlink_to(ROOT / "jobs")
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command)[1:])
    assert not ended.value.code
