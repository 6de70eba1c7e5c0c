"""Packing places as FreeCapacity does, whatever comes in whatever order."""

import random
from dataclasses import replace

import pytest

from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity, FreeCapacity
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.share import within
from orchestrator.scheduler.placement.packing import Packing

NODES = [
    Capacity(8, 4, 64, 80, gpu_type="H100"),
    Capacity(8, 4, 60, 80, gpu_type="H100"),
    Capacity(16, 2, 0, 24, gpu_type="A10G"),
    Capacity(32, 0, 128),
]
LAYOUTS = [
    Layout(),
    Layout(cpus=3, memory_bytes=10),
    Layout(gpus=1),
    Layout(gpus=2, gpu_type="H100"),
    Layout(gpus=0.5),
    Layout(gpus=0.25, gpu_type="A10G"),
    Layout(ranks=3, gpus=1, memory_bytes=9),
    Layout(ranks=6, cpus=4),
    Layout(ranks=9, gpus=1),
]


@pytest.mark.parametrize("share", [None, "60%"])
@pytest.mark.parametrize("seed", range(20))
def test_random_layouts_are_placed_as_one_by_one(seed: int, share: str | None) -> None:
    chance = random.Random(seed)
    resources = Resources.model_validate({"share": share})
    cluster = within(resources, Capacity.of(chance.choices(NODES, k=6)))
    packing, free = Packing(cluster), FreeCapacity.of(cluster)
    for _ in range(40):
        layout = chance.choice(LAYOUTS)
        left = free.without(layout)
        assert packing.fits(layout) == (left is not None)
        assert packing.take(layout) == (left is not None)
        free = left or free
        assert tuple(packing.nodes) == free.nodes


def test_what_does_not_fit_takes_nothing() -> None:
    packing = Packing(Capacity(4), [Layout(cpus=3), Layout(cpus=2), Layout(cpus=1)])
    assert [node.cpus for node in packing.nodes] == [0]


def test_what_runs_counts_against_a_share_though_its_node_is_gone() -> None:
    half = within(Resources.model_validate({"share": "50%"}), Capacity.of([Capacity(4)] * 2))
    assert not Packing(half, [Layout(cpus=8)]).fits(Layout())
    assert Packing(half, [Layout(cpus=3)]).fits(Layout())
    assert not Packing(half, [Layout(cpus=3)]).fits(Layout(cpus=2))


@pytest.mark.parametrize("seed", range(10))
def test_what_is_given_back_is_free_again(seed: int) -> None:
    chance = random.Random(seed)
    cluster = Capacity.of(chance.choices(NODES, k=6))
    packing, held = Packing(cluster), []
    for _ in range(60):
        layout = chance.choice(LAYOUTS)
        if held and chance.random() < 0.4:
            packing.give_back(*held.pop(chance.randrange(len(held))))
        elif packing.fits(layout):
            held.append((layout, packing.hold(layout)))
        fresh = Packing(replace(cluster, nodes=tuple(packing.nodes)))
        assert [packing.fits(each) for each in LAYOUTS] == [fresh.fits(each) for each in LAYOUTS]
    for layout, places in held:
        packing.give_back(layout, places)
    assert tuple(packing.nodes) == cluster.nodes


def test_what_a_copy_takes_is_not_taken_of_the_first() -> None:
    packing = Packing(Capacity(4, 4), [Layout(gpus=2)])
    copy = packing.copy()
    assert copy.take(Layout(gpus=2))
    assert not copy.fits(Layout(gpus=1))
    assert packing.fits(Layout(gpus=2))


def test_a_share_has_back_what_is_given_back() -> None:
    half = within(Resources.model_validate({"share": "50%"}), Capacity.of([Capacity(4)] * 2))
    packing = Packing(half)
    places = packing.hold(Layout(cpus=3))
    packing.give_back(Layout(cpus=3), places)
    assert packing.fits(Layout(cpus=4))
