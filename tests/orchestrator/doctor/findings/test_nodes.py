"""What follows from the software, disks and GPUs of nodes."""

from dataclasses import replace

from orchestrator.doctor.findings.facts import FreeSpace, Gpu, NodeState, Software, TorchDevice
from orchestrator.doctor.findings.finding import Finding, Verdict
from orchestrator.doctor.findings.nodes import (
    clocks,
    devices,
    disks,
    processes,
    torch_device,
    versions,
)

_GB = 10**9
SOFTWARE = Software("3.11.7", {"torch": "2.13.0", "transformers": "5.23.0"}, "c0de")
ROOM = FreeSpace("temp folder", "/tmp", 100 * _GB)
GPU = Gpu("NVIDIA A100", "550.54", 80 * _GB, 79 * _GB)
A100 = TorchDevice("NVIDIA A100", "12.8", (8, 0), True, 80 * _GB, 79 * _GB)


def _only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_equal_software_is_one_finding_for_all_places() -> None:
    found = _only(list(versions(SOFTWARE, {"node 1": SOFTWARE, "node 2": SOFTWARE})))
    assert (found.verdict, found.where) == (Verdict.OK, "driver, node 1, node 2")


def test_another_version_of_a_library_names_both_and_what_to_install() -> None:
    other = replace(SOFTWARE, libraries={**SOFTWARE.libraries, "transformers": "9.9.9"})
    found = list(versions(SOFTWARE, {"node 1": SOFTWARE, "node 2": other}))[-1]
    assert (found.verdict, found.where) == (Verdict.WRONG, "node 2")
    assert found.seen == "transformers 9.9.9, driver: 5.23.0"
    assert "pip install transformers==5.23.0 on node 2" in found.cure


def test_a_library_that_a_node_lacks_is_wrong() -> None:
    other = replace(SOFTWARE, libraries={"torch": "2.13.0"})
    found = _only(list(versions(SOFTWARE, {"node 1": other})))
    assert found.seen == "transformers is not installed, driver: 5.23.0"


def test_another_python_is_wrong() -> None:
    found = _only(list(versions(SOFTWARE, {"node 1": replace(SOFTWARE, python="3.12.1")})))
    assert "environment of Python 3.11.7" in found.cure


def test_another_copy_of_our_code_is_wrong() -> None:
    found = _only(list(versions(SOFTWARE, {"node 1": replace(SOFTWARE, code="01d")})))
    assert "trsp submit FILE" in found.cure


def _clock(shown: float) -> NodeState:
    return NodeState(SOFTWARE, (ROOM,), clock=shown)


def test_a_clock_read_while_it_was_waited_for_is_the_drivers() -> None:
    found = _only(list(clocks({"node 1": _clock(1030), "node 2": _clock(996)}, 1000, 1060)))
    assert (found.verdict, found.where) == (Verdict.OK, "node 1, node 2")


def test_a_clock_behind_or_ahead_is_a_warning_that_says_by_how_much() -> None:
    found = list(clocks({"node 1": _clock(910), "node 2": _clock(1100)}, 1000, 1002))
    assert {each.verdict for each in found} == {Verdict.WARNING}
    assert [each.seen for each in found] == [
        "90 s behind the driver's",
        "98 s ahead of the driver's",
    ]


def test_enough_room_everywhere_is_one_finding_of_the_least() -> None:
    states = {
        "driver": NodeState(SOFTWARE, (ROOM,)),
        "node 1": NodeState(SOFTWARE, (replace(ROOM, free_bytes=50 * _GB),)),
    }
    found = _only(list(disks(states)))
    assert found.verdict is Verdict.OK
    assert found.seen.startswith("50.0 GB free or more")


def test_a_full_disk_is_wrong_and_a_tight_one_a_warning() -> None:
    state = NodeState(
        SOFTWARE, (replace(ROOM, free_bytes=_GB // 2), replace(ROOM, free_bytes=9 * _GB))
    )
    full, tight = disks({"node 1": state})
    assert (full.verdict, tight.verdict) == (Verdict.WRONG, Verdict.WARNING)
    assert "TRSP_TMPDIR" in full.cure, "which comes before TMPDIR where both are set"


def test_a_folder_that_cannot_be_written_is_wrong() -> None:
    state = NodeState(SOFTWARE, (FreeSpace("HF cache", "/data", 0, "Permission denied"),))
    assert _only(list(disks({"node 1": state}))).verdict is Verdict.WRONG


def test_a_node_that_cannot_fork_is_a_warning_with_the_reason_and_others_are_one_finding() -> None:
    there = {"node 1": 0.1, "node 2": 6.2}
    slow, well = processes(there, {"node 3": PermissionError("/tmp/x can be entered by others")})
    assert (slow.verdict, slow.where) == (Verdict.WARNING, "node 3")
    assert "seconds later: PermissionError: /tmp/x can be entered by others" in slow.seen
    assert (well.verdict, well.where) == (Verdict.OK, "node 1, node 2")
    assert well.seen.startswith("forked within 6 s")


def test_gpus_that_ray_does_not_offer_are_a_warning() -> None:
    state = NodeState(SOFTWARE, (ROOM,), (GPU, GPU))
    found = _only(list(devices({"node 1": state}, {"node 1": 0}, False)))
    assert found.verdict is Verdict.WARNING
    assert "--num-gpus=2" in found.cure


def test_gpus_in_use_by_others_are_a_warning() -> None:
    state = NodeState(SOFTWARE, (ROOM,), (GPU, replace(GPU, free_bytes=10 * _GB)))
    there, busy = devices({"node 1": state}, {"node 1": 2}, False)
    assert there.seen == "2 x NVIDIA A100 of 80.0 GB, driver 550.54"
    assert busy.seen == "1 of 2 GPUs in use: 10.0 GB of 80.0 GB free"


def test_no_gpu_is_wrong_only_where_the_grid_asks_for_one() -> None:
    states = {"node 1": NodeState(SOFTWARE, (ROOM,))}
    assert _only(list(devices(states, {"node 1": 0}, False))).verdict is Verdict.OK
    assert _only(list(devices(states, {"node 1": 0}, True))).verdict is Verdict.WRONG


def test_gpus_that_can_come_are_not_missing_but_not_examined_either() -> None:
    found = _only(list(devices({"node 1": NodeState(SOFTWARE, (ROOM,))}, {}, True, can_come=True)))
    assert found.verdict is Verdict.WARNING
    assert "nodes with GPUs come when asked for" in found.seen


def test_a_gpu_that_torch_can_use_is_well() -> None:
    assert torch_device("node 1", A100).verdict is Verdict.OK


def test_a_gpu_without_bf16_in_hardware_is_a_warning() -> None:
    found = torch_device("node 1", replace(A100, capability=(7, 0)))
    assert "precision: fp32" in found.cure


def test_a_torch_built_for_cpus_on_a_gpu_node_is_wrong() -> None:
    found = torch_device("node 1", TorchDevice(error="torch.cuda.is_available() is False"))
    assert found.verdict is Verdict.WRONG
    assert "CUDA build" in found.cure
