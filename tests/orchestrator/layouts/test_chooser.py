"""Layouts of stages on a cluster with two types of GPU, from the first rung to the last."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.chooser import LayoutChooser
from orchestrator.layouts.layout import Layout
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind, StageSpec, cell_stages
from orchestrator.store.store import Store
from tests.orchestrator.fake_launcher import resolved
from tests.orchestrator.layouts.samples import SMALL, chosen_by

GB = 10**9
H100, A10G = (
    Capacity(64, 2, 1000 * GB, memory_gb * GB, gpu_type=name)
    for name, memory_gb in (("H100", 80), ("A10G", 24))
)
MIXED = Capacity.of([H100, A10G])


@pytest.fixture
def grid(tmp_path: Path) -> Resolved:
    """A grid of a small model, whose speed is measured on an H100."""
    found = resolved(tmp_path, gate_l1=1e-3)
    models = {name: replace(info, shape=SMALL) for name, info in found.models.items()}
    return replace(found, models=models, study=replace(found.study, hardware="H100"))


@pytest.fixture
def chooser(grid: Resolved, tmp_path: Path) -> LayoutChooser:
    return LayoutChooser(grid, Store(str(tmp_path / "store")), clock=lambda: 0.0)


def stage(grid: Resolved, kind: StageKind) -> StageSpec:
    specs = cell_stages(grid.cells[0], grid.study, (1, 2))
    return next(spec for spec in specs if spec.kind is kind)


def chosen(chooser: LayoutChooser, spec: StageSpec, capacity: Capacity = MIXED) -> Layout:
    return chosen_by(chooser, spec, capacity, MIXED)


def others(chooser: LayoutChooser, spec: StageSpec) -> tuple[Layout, ...]:
    return chooser.choose_all([spec], MIXED, MIXED).alternatives.get(spec.key, ())


def test_the_smaller_type_is_chosen_and_the_other_stands_by(
    grid: Resolved, chooser: LayoutChooser
) -> None:
    spec = stage(grid, StageKind.EVALUATE)
    assert chosen(chooser, spec).gpu_type == "A10G"
    assert [each.gpu_type for each in others(chooser, spec)] == ["H100"]


def test_where_there_is_one_type_it_needs_no_name(grid: Resolved, chooser: LayoutChooser) -> None:
    spec, one = stage(grid, StageKind.EVALUATE), Capacity.of([H100])
    assert chosen_by(chooser, spec, one, one).gpu_type == ""
    assert chooser.choose_all([spec], one, one).alternatives == {}


def test_a_type_whose_nodes_are_away_is_still_told_from_the_other(
    grid: Resolved, chooser: LayoutChooser
) -> None:
    """Else a layout made for the larger GPU might find itself on a smaller one that comes back."""
    there = Capacity.of([H100])
    assert chosen(chooser, stage(grid, StageKind.EVALUATE), there).gpu_type == "H100"


def test_a_measurement_is_on_the_type_that_its_key_names(
    grid: Resolved, chooser: LayoutChooser
) -> None:
    spec = stage(grid, StageKind.MEASURE)
    assert (chosen(chooser, spec).gpu_type, chosen(chooser, spec).gpus) == ("H100", 1)
    assert others(chooser, spec) == ()
    away = Capacity.of([A10G])
    assert chosen(chooser, spec, away).gpu_type == "H100", "it waits for its nodes"


def test_after_the_last_rung_on_one_type_comes_the_other(
    grid: Resolved, chooser: LayoutChooser
) -> None:
    spec, seen = stage(grid, StageKind.EVALUATE), list[tuple[str, float]]()
    while True:
        layout = chosen(chooser, spec)
        seen.append((layout.gpu_type, layout.gpus))
        if not chooser.climb(spec, layout, MIXED, MIXED):
            break
    a10g = [gpus for gpu_type, gpus in seen if gpu_type == "A10G"]
    assert a10g[-2:] == [1, 2], "a whole one, then both of its node"
    assert a10g[0] < 1
    assert [gpu_type for gpu_type, _ in seen] == sorted(gpu_type for gpu_type, _ in seen)
    assert seen[-1] == ("H100", 2)


def test_what_was_learned_on_one_type_is_not_believed_of_the_other(
    grid: Resolved, chooser: LayoutChooser
) -> None:
    spec = stage(grid, StageKind.EVALUATE)
    before = others(chooser, spec)
    assert chooser.climb(spec, chosen(chooser, spec), MIXED, MIXED)
    assert chosen(chooser, spec).gpus == 1
    assert others(chooser, spec) == before
