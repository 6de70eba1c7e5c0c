"""``trsp doctor``'s tables, as they stand in a job's log."""

import io

from rich.console import Console

from orchestrator.doctor.findings.finding import Finding, fine, warning, wrong
from orchestrator.report.examination_table import print_examination

FINDINGS = (
    fine("versions", "driver, node 1", "torch 2.13.0, transformers 5.23.0 " * 6),
    warning("disk", "node 2", "temp folder [/tmp]: 9.0 GB free", "make room"),
    wrong("store", "node 3", "/a/rather/long/path/of/the/store is another folder", "mount it"),
)


def _printed(*findings: Finding) -> str:
    out = Console(file=io.StringIO(), width=160, highlight=False)
    print_examination(findings or FINDINGS, ["node 1: 10.0.0.1 (head), 8 CPUs"], 96.4, out)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_no_line_is_longer_than_80_columns() -> None:
    assert max(map(len, _printed().splitlines())) <= 80


def test_what_is_wrong_comes_before_warnings_with_the_cure() -> None:
    cures = _printed().partition("what is wrong")[2]
    assert 0 < cures.index("mount it") < cures.index("make room")
    assert "[/tmp]" in cures


def test_the_last_line_sums_up() -> None:
    assert _printed().splitlines()[-1] == "1 wrong, 1 with a warning, 1 well, in 96 s"


def test_a_long_path_is_folded_and_not_cut() -> None:
    path = "/" + 200 * "x"
    printed = _printed(fine("store", "driver", path), wrong("disk", "driver", path, "make room"))
    assert printed.count("x") == 3 * 200  # in the table of checks twice, and where it is wrong
    assert "…" not in printed
