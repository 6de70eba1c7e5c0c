"""What types of GPU do in a second, and by which names they are known."""

import pytest

from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.expected.devices import GPU_TYPES, rates_of, type_of_device
from orchestrator.scheduler.expected.durations import estimated_s
from orchestrator.scheduler.expected.effort import Effort


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("Tesla V100-SXM2-32GB", "V100"),
        ("cpu", ""),
        ("NVIDIA GB300", ""),
    ],
)
def test_a_device_is_known_by_the_name_of_its_driver(device: str, name: str) -> None:
    assert type_of_device(device) == name


def test_a_gpu_of_no_known_type_is_about_an_a100() -> None:
    unknown, a100 = (rates_of(Layout(gpus=1, gpu_type=name)) for name in ("", "A100"))
    assert unknown.operations == pytest.approx(a100.operations, rel=0.01)
    assert unknown.bytes == pytest.approx(a100.bytes, rel=0.05)


def test_a_core_is_far_slower_than_any_gpu() -> None:
    slowest = min(each.rates.operations for each in GPU_TYPES.values())
    assert rates_of(Layout()).operations < slowest / 100


def test_the_same_work_takes_less_time_on_a_faster_type() -> None:
    work = Effort(operations=1e15)
    seconds = [estimated_s(work, Layout(gpus=1, gpu_type=name)) for name in ("H100", "A100", "T4")]
    assert seconds == sorted(seconds)
    assert seconds[1] / seconds[0] == pytest.approx(989 / 312)
