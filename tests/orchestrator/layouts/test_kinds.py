"""Clusters with several types of GPU: which of them a stage has, best and otherwise."""

from dataclasses import replace
from typing import Any

from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.estimate import DoesNotFit, layout_for
from orchestrator.layouts.kinds import gpu_types, layouts_for
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.memory import Correction
from orchestrator.layouts.share import within
from orchestrator.stages.stage_specs import StageKind, StageSpec
from tests.orchestrator.layouts.samples import B7, B70, SMALL, stages
from trsp.architecture.shape import ModelShape
from trsp.config import EngineSettings, RandomSettings

GB = 10**9
TRAIN = stages()[StageKind.TRANSFER]
SCORE = stages()[StageKind.EVALUATE]
MEMORY_GB = {"A10G": 24, "A100": 40, "H100": 80}


def node(gpu_type: str, gpus: int = 8) -> Capacity:
    return Capacity(64, gpus, 1000 * GB, MEMORY_GB[gpu_type] * GB, gpu_type=gpu_type)


MIXED = Capacity.of([Capacity(8, memory_bytes=64 * GB), node("H100"), node("A10G"), node("A100")])


def found(
    spec: StageSpec, shape: ModelShape, capacity: Capacity = MIXED, **resources: Any
) -> tuple[Layout, ...] | DoesNotFit:
    settings, types = Resources(**resources), gpu_types(capacity)
    return layouts_for(spec, shape, capacity, settings, "auto", lambda part: Correction(), types)


def on(layouts: tuple[Layout, ...] | DoesNotFit) -> list[tuple[str, int, float]]:
    """Return type, ranks and GPUs of each rank of the layouts."""
    assert not isinstance(layouts, DoesNotFit), layouts
    return [(each.gpu_type, each.ranks, each.gpus) for each in layouts]


def test_the_smallest_gpu_that_is_enough_comes_first_and_larger_ones_after_it() -> None:
    assert on(found(SCORE, B7)) == [("A10G", 1, 1), ("A100", 1, 0.5), ("H100", 1, 0.25)]


def test_the_fewest_gpus_come_first() -> None:
    types = [(gpu_type, ranks) for gpu_type, ranks, _ in on(found(TRAIN, B7))]
    assert types == [("H100", 2), ("A100", 8)], "none of 8 A10G"


def test_a_type_that_cannot_hold_a_stage_is_none_of_its_layouts() -> None:
    assert {gpu_type for gpu_type, *_ in on(found(SCORE, B70))} == {"H100", "A100", "A10G"}
    few = Capacity.of([node("H100", 2), node("A10G", 2)])
    assert on(found(SCORE, B70, few)) == [("H100", 1, 2)]


def test_a_type_on_which_the_optimizer_waits_on_the_host_stands_in_for_no_other() -> None:
    few = Capacity.of([node("H100", 2), node("A10G", 1)])
    assert on(found(TRAIN, B7, few)) == [("H100", 2, 1)]
    alike = found(TRAIN, B7, Capacity.of([node("A100", 1), node("A10G", 1)]))
    assert on(alike) == [("A10G", 1, 1), ("A100", 1, 1)], "it waits there on both"


def test_what_a_gpu_costs_decides_where_the_user_says_it() -> None:
    costs = {"H100": 1.0, "A10G": 1.0}
    first, *_ = on(found(SCORE, B7, gpu_cost=costs))
    assert first[0] == "H100", "a quarter of one costs less than all of another"
    last = on(found(SCORE, B7, gpu_cost=costs))[-1]
    assert last[0] == "A100", "a type without a price comes after those with one"


def test_a_gang_is_of_one_type() -> None:
    """7B takes two GPUs of 80 GB; one and a smaller one are none."""
    one = Capacity.of([node("H100", 1), node("A100", 1)])
    assert {ranks for _, ranks, _ in on(found(TRAIN, B7, one))} == {1}


def test_all_types_too_small_are_refused_by_the_largest() -> None:
    refused = found(SCORE, B70, Capacity.of([node("A10G", 1), node("A100", 1)]))
    assert isinstance(refused, DoesNotFit)
    assert "1 GPU of 40 GB" in refused.reason


def test_a_stage_for_cpus_has_one_layout_of_no_type() -> None:
    for spec in (
        stages()[StageKind.PRUNE],
        stages(RandomSettings())[StageKind.RANKING],
    ):
        assert on(found(spec, SMALL)) == [("", 1, 0)]


def test_what_no_host_holds_is_pruned_on_gpus() -> None:
    small_hosts = Capacity.of([replace(each, memory_bytes=30 * GB) for each in MIXED.nodes])
    layouts = on(found(stages()[StageKind.PRUNE], B70, small_hosts))
    assert layouts[0] == ("H100", 1, 2)


def test_without_gpus_for_stages_types_do_not_matter() -> None:
    assert on(found(SCORE, SMALL, use_gpus=False)) == [("", 1, 0)]


def test_corrections_are_those_of_each_type() -> None:
    def correction(part: Capacity) -> Correction:
        return Correction(1.6 if gpu_types(part) == {"A10G"} else 1.0)

    layouts = layouts_for(
        SCORE, B7, MIXED, Resources(), "auto", correction, sorted(gpu_types(MIXED))
    )
    assert on(layouts)[0] == ("A100", 1, 0.5), "on an A10G it would take two"


def test_what_needs_no_gpu_is_corrected_by_what_was_measured_on_hosts() -> None:
    def correction(part: Capacity) -> Correction:
        return Correction(2.0 if part.gpus else 1.0)

    spec = stages()[StageKind.PRUNE]
    (layout,) = layouts_for(spec, B7, MIXED, Resources(), "auto", correction)  # type: ignore[misc]
    assert layout == layout_for(spec, B7, MIXED, Resources())


def test_a_type_that_is_not_there_is_refused_by_name() -> None:
    refused = layouts_for(
        SCORE, SMALL, MIXED, Resources(), "auto", lambda part: Correction(), ["B200"]
    )
    assert isinstance(refused, DoesNotFit)
    assert "B200" in refused.reason


def test_what_the_user_has_said_goes_on_a_type_that_holds_it() -> None:
    """Two ranks under ZeRO-2 need GPUs of 80 GB; nothing is refused where there are none."""
    engine = EngineSettings(zero_stage=2, activation_checkpointing=True)

    def fixed(capacity: Capacity) -> list[tuple[str, int, float]]:
        types, settings = gpu_types(capacity), Resources(ranks=2)
        return on(
            layouts_for(TRAIN, B7, capacity, settings, engine, lambda part: Correction(), types)
        )

    assert fixed(MIXED) == [("H100", 2, 1)]
    assert fixed(Capacity.of([node("A10G"), node("A100")])) == [("", 2, 1)]


def test_on_each_type_a_grid_keeps_within_its_share() -> None:
    """7B takes 8 GPUs of 40 GB or two of 80 GB, and four of all are the grid's."""
    of_ours = within(Resources.model_validate({"share": {"gpus": 4}}), MIXED)
    assert [gpu_type for gpu_type, *_ in on(found(TRAIN, B7, of_ours))] == ["H100"]
