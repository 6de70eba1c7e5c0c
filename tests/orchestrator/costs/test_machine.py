"""Which machine costs are counted for: what was asked, what the file says, or this one."""

import os

import pytest

from orchestrator.costs.machine import machine_of, planned_machine
from orchestrator.grid.run_settings import NumberOfGpus, PartOfCluster, Resources
from orchestrator.layouts.capacity import Capacity
from trsp.errors import InvalidInputError

A100 = Capacity(96, 8, gpu_memory_bytes=80 * 10**9, gpu_type="A100")


def test_a_grid_that_says_nothing_is_for_the_cores_of_this_machine() -> None:
    machine = planned_machine(Resources(), None, None)
    assert machine.capacity.cpus == len(os.sched_getaffinity(0))
    assert (machine.gpus, machine.device, machine.assumed) == (0, "core", "")


def test_this_machine_has_as_much_memory_as_the_file_lets_it_have() -> None:
    machine = planned_machine(Resources(memory=10**9), None, None)
    assert machine.capacity.memory_bytes == 10**9


def test_what_was_asked_comes_before_what_the_file_says() -> None:
    machine = planned_machine(Resources(use_gpus=False, max_ranks=4), 16, "H100")
    assert machine.text == "16 GPUs (H100)"
    assert machine.resources.use_gpus is True
    assert [node.gpus for node in machine.capacity.machines] == [8, 8]


def test_a_type_says_how_much_memory_there_is_unless_the_file_does() -> None:
    named = [planned_machine(Resources(gpu_memory=given), 1, "L4") for given in (None, 10**10)]
    assert [each.capacity.gpu_memory_bytes for each in named] == [24 * 10**9, 10**10]


@pytest.mark.parametrize(
    "resources", [Resources(max_ranks=4, use_gpus=True), Resources(share=NumberOfGpus(gpus=4))]
)
def test_the_file_may_say_how_many_gpus(resources: Resources) -> None:
    machine = planned_machine(resources, None, None)
    assert machine.gpus == 4
    assert machine.assumed == "nobody has said which GPUs: --gpu TYPE does"


def test_what_nobody_has_said_is_assumed_and_named() -> None:
    machine = planned_machine(Resources(use_gpus=True), None, None)
    assert machine.text == "8 GPUs (80 GB)"
    assert machine.assumed == "nobody has said which GPUs: --gpus N and --gpu TYPE does"


def test_speed_is_measured_on_the_type_that_is_meant() -> None:
    machine = planned_machine(Resources(use_gpus=True, measure_on="H100"), 8, None)
    assert (machine.gpu_type, machine.assumed) == ("H100", "")


def test_an_unknown_type_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match=r"unknown type of GPU 'H10'.*did you mean 'H100'"):
        planned_machine(Resources(), 1, "H10")


def test_a_cluster_at_hand_has_the_type_that_all_its_gpus_are_of() -> None:
    assert machine_of(A100, Resources()).gpu_type == "A100"
    mixed = Capacity.of([A100, Capacity(8, 1, gpu_type="T4")])
    assert machine_of(mixed, Resources()).gpu_type == ""


def test_of_a_cluster_the_grid_takes_its_share() -> None:
    assert machine_of(A100, Resources(share=PartOfCluster(part=0.25))).gpus == 2
