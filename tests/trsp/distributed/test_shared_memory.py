"""A process that shares its GPU: what it may take, and what it thinks is free. No GPU is there."""

from types import SimpleNamespace

import pytest
import torch

from trsp.distributed.device import free_memory_bytes, sharing_memory

GB = 10**9
DEVICE = torch.device("cuda", 0)


@pytest.fixture
def fractions(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """The fraction that each of two GPUs of 80 GB lets this process have; 50 GB are free."""
    fractions = {0: 1.0, 1: 1.0}

    def limit(fraction: float, gpu: int) -> None:
        fractions[gpu] = fraction

    cuda = {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "get_device_properties": lambda gpu: SimpleNamespace(total_memory=80 * GB),
        "set_per_process_memory_fraction": limit,
        "get_per_process_memory_fraction": lambda device: fractions[device.index],
        "mem_get_info": lambda device: (50 * GB, 80 * GB),
        "memory_allocated": lambda device: 3 * GB,
        "memory_reserved": lambda device: 4 * GB,
    }
    for name, function in cuda.items():
        monkeypatch.setattr(f"torch.cuda.{name}", function)
    return fractions


def test_tensors_get_the_part_but_for_what_is_beside_them(fractions: dict[int, float]) -> None:
    with sharing_memory(0.25, 2 * GB):
        assert fractions == {0: 0.225, 1: 0.225}
    assert fractions == {0: 1.0, 1: 1.0}


def test_what_is_beyond_the_part_is_not_free(fractions: dict[int, float]) -> None:
    assert free_memory_bytes(DEVICE) == 51 * GB
    with sharing_memory(0.25, 2 * GB):
        assert free_memory_bytes(DEVICE) == pytest.approx(15 * GB)  # 18 less the 3 it has


def test_a_part_smaller_than_what_it_has_leaves_nothing(fractions: dict[int, float]) -> None:
    with sharing_memory(0.025, 2 * GB):
        assert fractions[0] == 0.0
        assert free_memory_bytes(DEVICE) == 0


def test_without_a_gpu_nothing_is_limited() -> None:
    with sharing_memory(0.25, 2 * GB):
        pass
