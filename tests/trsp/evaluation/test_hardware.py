"""Labels of hardware: what they say, and which may be called by another."""

from pathlib import Path

import pytest

from trsp.evaluation.hardware import hardware_name, is_cpu, is_same_kind


def test_hardware_names_the_gpu_unless_it_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0000:00:04.0").mkdir()
    (tmp_path / "0000:00:04.0" / "information").write_text(
        "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 11\n"
    )
    (tmp_path / "cpuinfo").write_text(2 * "processor\t: 0\nmodel name\t: AMD EPYC 7B13\n\n")
    monkeypatch.setattr("trsp.evaluation.hardware._GPUS", tmp_path)
    monkeypatch.setattr("trsp.evaluation.hardware._CPU", tmp_path / "cpuinfo")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert hardware_name() == "NVIDIA H100 80GB HBM3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert hardware_name() == "AMD EPYC 7B13, 1 thread"
    assert hardware_name(threads=4) == "AMD EPYC 7B13, 4 threads"


def test_hardware_of_this_machine_has_a_name() -> None:
    assert hardware_name()


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ("H100", "NVIDIA H100 80GB HBM3"),
        ("A100-80G", "NVIDIA A100-SXM4-80GB"),
        ("RTX-PRO-6000", "NVIDIA RTX PRO 6000 Blackwell"),
        ("GeForce-RTX-5090", "NVIDIA GeForce RTX 5090"),
        ("AMD-Instinct-MI300X-OAM", "AMD Instinct MI300X OAM"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3"),
        ("AMD EPYC 7B13, 2 threads", "Intel Xeon, 1 thread"),
        ("cpu", "Intel Xeon, 1 thread"),
    ],
)
def test_a_device_goes_by_the_name_of_its_type(asked: str, seen: str) -> None:
    assert is_same_kind(asked, seen)


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ("H100", "NVIDIA A100-SXM4-80GB"),
        ("A100-80G", "NVIDIA A100-SXM4-40GB"),
        ("H100", "AMD EPYC 7B13, 2 threads"),
        ("AMD EPYC 7B13, 2 threads", "NVIDIA H100 80GB HBM3"),
        ("A100 H100", "NVIDIA H100 80GB HBM3"),
        ("L4", "NVIDIA L40S"),
        ("H20", "NVIDIA H200"),
        ("A10", "NVIDIA A10G"),
    ],
)
def test_another_type_is_told_from_it(asked: str, seen: str) -> None:
    assert not is_same_kind(asked, seen)


def test_cpus_are_told_from_gpus_by_their_threads() -> None:
    labels = ("AMD EPYC 7B13, 2 threads", "", "cpu", "H100", "NVIDIA H100 80GB HBM3")
    assert [is_cpu(label) for label in labels] == [True, True, True, False, False]
