"""``trsp doctor`` on the command line: what it prints and its exit codes."""

import json
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.doctor import examine
from orchestrator.doctor.findings.finding import Finding, fine, wrong

WELL, ILL = fine("disk", "driver", "9 TB free"), wrong("store", "node 1", "not there", "mount it")


def _run(
    monkeypatch: pytest.MonkeyPatch, *findings: Finding, arguments: tuple[str, ...] = ()
) -> object:
    """The exit code of a run that finds this."""
    found = examine.Examination(findings, ("node 1: 10.0.0.1",), 3.0)
    monkeypatch.setattr(examine, "examine", lambda grid, address, say: found)
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", *arguments])
    return ended.value.code


def test_all_well_is_0_and_something_wrong_is_1(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run(monkeypatch, WELL) == 0
    assert _run(monkeypatch, WELL, ILL) == 1


def test_the_cure_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(monkeypatch, WELL, ILL)
    printed = capsys.readouterr().out
    assert "mount it" in printed
    assert "1 wrong, 1 well, in 3 s" in printed


def test_json_is_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(monkeypatch, ILL, arguments=("--json",))
    assert json.loads(capsys.readouterr().out) == [ILL.as_dict()]


def test_a_file_that_is_not_there_is_2(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", str(tmp_path / "gone.yaml")])
    assert ended.value.code == 2
