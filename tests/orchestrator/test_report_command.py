"""``trsp report``: where it writes, and what it says of it."""

from pathlib import Path

import pytest

from orchestrator.cli import main
from tests.orchestrator.report.page.views import half_failed


@pytest.fixture(autouse=True)
def _known_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every grid be one of which one cell failed, and the folder for files an empty one."""
    view = half_failed(tmp_path / "store")
    monkeypatch.setattr("orchestrator.commands.looking.report.resolved_grid", lambda *_: None)
    monkeypatch.setattr("orchestrator.run.view_of", lambda _: view)
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> int:
    """Run the command; return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["report", "sample", *arguments])
    return int(ended.value.code or 0)


def test_a_page_is_written_and_its_place_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call() == 0
    assert capsys.readouterr().out == f"report: {tmp_path / 'report.html'}\n"
    assert "<h1>sample</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_markdown_goes_to_a_file_of_its_own(tmp_path: Path) -> None:
    assert call("--markdown") == 0
    assert (tmp_path / "report.md").read_text(encoding="utf-8").startswith("# sample\n")


def test_the_file_can_be_chosen(tmp_path: Path) -> None:
    assert call("--out", "page.html") == 0
    assert (tmp_path / "page.html").is_file()


def test_a_file_that_cannot_be_written_is_a_slip(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--out", "absent/page.html") == 2
    assert capsys.readouterr().err == (
        "error: the report cannot be written to absent/page.html: No such file or directory; "
        "give --out another file\n"
    )
