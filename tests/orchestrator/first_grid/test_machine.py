"""What a machine is called for people, and what this one has."""

import pytest

from orchestrator.first_grid.machine import Machine, this_machine


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        (Machine(1, 0), "1 CPU core"),
        (Machine(8, 0), "8 CPU cores"),
        (Machine(8, 0, (80 * 10**9,) * 2, "NVIDIA H100"), "2 x NVIDIA H100"),
    ],
)
def test_a_machine_is_called_by_what_computes(machine: Machine, text: str) -> None:
    assert machine.text == text


def test_this_machine_has_a_core_and_memory() -> None:
    machine = this_machine()
    assert machine.cpus >= 1
    assert machine.memory_bytes > 0
