"""Findings as such: merged, named, counted into an exit code, and made of errors."""

from orchestrator.doctor.findings.finding import (
    Verdict,
    exit_code,
    fine,
    merged,
    named,
    unanswered,
    warning,
    wrong,
)


def test_only_what_is_wrong_fails() -> None:
    assert exit_code([fine("disk", "driver", ""), warning("disk", "driver", "", "")]) == 0
    assert exit_code([fine("disk", "driver", ""), wrong("disk", "node 1", "", "")]) == 1


def test_findings_that_differ_in_their_place_alone_are_one() -> None:
    found = merged([wrong("disk", f"node {i}", "full", "make room") for i in (1, 2)])
    assert [each.where for each in found] == ["node 1, node 2"]


def test_many_names_are_shortened() -> None:
    assert named([f"node {i}" for i in range(1, 12)]) == "node 1, node 2 and 9 more"


def test_a_check_that_hangs_is_wrong() -> None:
    found = unanswered("store", "node 1", TimeoutError("no answer within 60 s"), "look there")
    assert (found.verdict, found.cure) == (Verdict.WRONG, "look there")


def test_a_node_without_our_code_is_told_how_to_get_it() -> None:
    error = ModuleNotFoundError("No module named 'orchestrator'")
    assert "`trsp submit FILE`" in unanswered("node", "node 1", error, "").cure


def test_a_node_that_is_gone_is_said_to_be() -> None:
    gone = type("TaskUnschedulableError", (Exception,), {})  # as Ray's is called
    found = unanswered("store", "node 3", gone("soft=False was specified. lease_id=0b0000"), "")
    assert found.verdict is Verdict.WRONG
    assert found.seen.startswith("Ray starts nothing there any more")
    assert "ray status" in found.cure
