"""What follows from the answers of the store, the tracking server and the grid's sources."""

from dataclasses import replace

from orchestrator.doctor.findings.facts import SourceState, StoreUse, TrackingUse
from orchestrator.doctor.findings.finding import Finding, Verdict
from orchestrator.doctor.findings.places import sources, store, tracking

WELL = StoreUse({"read": 0.001, "write": 0.002}, sees_driver=True, is_exclusive=True)
TEXT = SourceState("text wiki", True, "abc", 10**6)


def _only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_a_store_that_is_well_everywhere_is_one_finding_of_the_slowest() -> None:
    slower = replace(WELL, seconds={"read": 0.001, "write": 0.02})
    found = _only(list(store("/s", {"driver": WELL, "node 1": slower})))
    assert (found.verdict, found.where) == (Verdict.OK, "driver, node 1")
    assert "write 20 ms" in found.seen


def test_a_folder_that_a_node_does_not_share_is_wrong_there() -> None:
    other = replace(WELL, sees_driver=False)
    found = next(iter(store("/s", {"driver": WELL, "node 2": other})))
    assert (found.verdict, found.where) == (Verdict.WRONG, "node 2")
    assert "mount the same file system" in found.cure


def test_where_the_driver_cannot_write_nodes_are_not_said_to_see_another_folder() -> None:
    failed = StoreUse(failed="write", error="Permission denied")
    other = replace(WELL, sees_driver=False)
    found = list(store("/s", {"driver": failed, "node 1": other}))
    assert [each.where for each in found if each.verdict is Verdict.WRONG] == ["driver"]
    assert "write failed: Permission denied" in found[0].seen


def test_a_store_in_which_a_file_can_be_created_twice_is_wrong() -> None:
    found = _only(list(store("s3://b", {"driver": replace(WELL, is_exclusive=False)})))
    assert found.verdict is Verdict.WRONG
    assert "both do" in found.seen
    assert "conditional writes" in found.cure


def test_a_slow_store_is_a_warning() -> None:
    found = _only(list(store("/s", {"driver": replace(WELL, seconds={"list": 3.0})})))
    assert found.verdict is Verdict.WARNING


def test_a_slow_tracking_server_is_a_warning() -> None:
    well = TrackingUse({"connect": 9.0, "write": 0.1})
    assert tracking("http://host", well).verdict is Verdict.OK
    assert tracking("http://host", TrackingUse({"write": 9.0})).verdict is Verdict.WARNING


def test_a_text_that_a_node_lacks_is_wrong_there() -> None:
    missing = SourceState("text wiki", True, error="there is no /t.jsonl")
    found = list(sources({"driver": (TEXT,), "node 1": (missing,)}))
    assert [each.where for each in found if each.verdict is Verdict.WRONG] == ["node 1"]


def test_a_text_of_other_content_is_wrong_where_it_differs_from_the_driver() -> None:
    other = replace(TEXT, content="xyz")
    found = list(sources({"driver": (TEXT,), "node 1": (other,)}))
    assert [each.where for each in found] == ["driver", "node 1"]
    assert "other content" in found[1].seen


AWAY = "model 'm' (revision main): the hub cannot be reached (no route); set HF_HUB_OFFLINE=1"


def test_a_hub_out_of_a_nodes_reach_is_a_warning_where_a_copy_was_downloaded() -> None:
    there = SourceState("model m", False, "abc")
    cached = SourceState("model m", False, "abc", is_cached=True, error=AWAY)
    absent = SourceState("model m", False, error=AWAY)
    found = list(sources({"driver": (there,), "node 1": (cached,), "node 2": (absent,)}))
    assert [(each.where, each.verdict) for each in found[:2]] == [
        ("node 1", Verdict.WARNING),
        ("node 2", Verdict.WRONG),
    ]
    assert (found[1].seen, found[1].cure) == tuple(AWAY.split("; "))


def test_a_hub_out_of_the_drivers_reach_is_wrong_whatever_was_downloaded() -> None:
    cached = SourceState("model m", False, "abc", is_cached=True, error=AWAY)
    found = next(iter(sources({"driver": (cached,)})))
    assert (found.verdict, found.cure) == (Verdict.WRONG, "set HF_HUB_OFFLINE=1")
