"""What follows from a gang's sum, a training's memory and the stages of a tiny model."""

from dataclasses import replace

from orchestrator.doctor.findings import work
from orchestrator.doctor.findings.facts import TrainingMemory
from orchestrator.doctor.findings.finding import Verdict

_GB = 10**9
MEMORY = TrainingMemory("H100", 10 * _GB, 10 * _GB, _GB, 2 * _GB)
NODES = ["node 1", "node 2"]


def test_a_right_sum_over_a_fast_link_is_well() -> None:
    found = work.all_reduce("nccl", NODES, 2, True, 50 * _GB, "2.27.5")
    assert (found.verdict, found.where) == (Verdict.OK, "node 1, node 2")
    assert found.seen.startswith("nccl 2.27.5, 2 ranks: 50.00 GB/s")


def test_a_wrong_sum_is_wrong_whatever_its_speed() -> None:
    assert work.all_reduce("nccl", NODES, 2, False, _GB, "").verdict is Verdict.WRONG


def test_a_slow_link_between_nodes_is_a_warning_that_names_the_interface() -> None:
    found = work.all_reduce("gloo", NODES, 2, True, 10**7, "")
    assert found.verdict is Verdict.WARNING
    assert "GLOO_SOCKET_IFNAME" in found.cure


def test_a_training_as_estimated_is_well() -> None:
    assert work.memory("node 1", MEMORY, True).verdict is Verdict.OK


def test_a_training_that_takes_more_is_a_warning_that_says_what_is_kept() -> None:
    found = work.memory("node 1", replace(MEMORY, measured_bytes=13 * _GB), True)
    assert found.verdict is Verdict.WARNING
    assert "+30%" in found.seen
    assert "later estimates are corrected" in found.cure


def test_more_than_twice_the_estimate_is_wrong() -> None:
    found = work.memory("node 1", replace(MEMORY, measured_bytes=21 * _GB), True)
    assert found.verdict is Verdict.WRONG


def test_a_larger_context_than_estimated_is_a_warning() -> None:
    found = work.memory("node 1", replace(MEMORY, runtime_bytes=3 * _GB), True)
    assert found.verdict is Verdict.WARNING


def test_a_failed_stage_is_named_with_its_message_and_those_before_it() -> None:
    found = work.stages("node 1", {"rank": 7.0}, "transfer", "OSError: no room")
    assert found.verdict is Verdict.WRONG
    assert found.seen == "transfer failed: OSError: no room (done: rank 7 s)"
