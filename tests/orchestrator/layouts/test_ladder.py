"""The ladder: rung after rung for what is trained and what there is, none that cannot help."""

from dataclasses import replace

import pytest

from orchestrator.layouts.ladder import Limits, next_rung
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.workload import Trains
from trsp.config import EngineSettings

GPU = Layout(ranks=1, cpus=4, gpus=1, engine=EngineSettings(zero_stage=0))
HOST = Layout(ranks=1, cpus=4, engine=EngineSettings(zero_stage=0))


def climb(layout: Layout, limits: Limits) -> list[str]:
    """Return what changes from rung to rung, to the end."""
    changes = []
    while (rung := next_rung(layout, limits)) is not None:
        before, after = _flat(layout), _flat(rung)
        changes.append(
            " ".join(f"{name}={after[name]}" for name in after if after[name] != before[name])
        )
        layout = rung
        assert len(changes) < 30, changes
    return changes


def _flat(layout: Layout) -> dict[str, object]:
    dumped = layout.to_json()
    engine = dumped.pop("engine")
    return {**dumped, **engine}


def test_a_gpu_gives_way_step_by_step() -> None:
    start = replace(GPU, engine=EngineSettings(zero_stage=0, micro_batch=4))
    assert climb(start, Limits(Trains.WEIGHTS, blocks_per_step=8, max_ranks=4)) == [
        "micro_batch=2",
        "micro_batch=1",
        "activation_checkpointing=True",
        "zero_stage=1 offload_optimizer=cpu",
        "zero_stage=3 offload_weights=cpu",
        "ranks=2",
        "ranks=4",
    ]


def test_a_gang_shares_more_before_it_offloads() -> None:
    start = replace(GPU, ranks=2)
    assert climb(start, Limits(Trains.WEIGHTS, max_ranks=2)) == [
        "activation_checkpointing=True",
        "zero_stage=1",
        "zero_stage=2",
        "zero_stage=3",
        "offload_optimizer=cpu",
        "offload_weights=cpu",
    ]


def test_frozen_weights_are_shared_by_stage_three_alone_and_have_no_optimizer() -> None:
    assert climb(replace(GPU, ranks=2), Limits(Trains.ADAPTERS, max_ranks=3)) == [
        "activation_checkpointing=True",
        "zero_stage=3",
        "offload_weights=cpu",
        "ranks=3",
    ]


def test_without_a_gpu_nothing_is_offloaded_and_ranks_of_one_host_do_not_help() -> None:
    assert climb(HOST, Limits(Trains.WEIGHTS, max_ranks=8)) == ["activation_checkpointing=True"]


def test_without_a_gpu_more_ranks_get_a_node_each() -> None:
    start = replace(HOST, memory_bytes=10)
    assert climb(start, Limits(Trains.WEIGHTS, max_ranks=8, nodes=3, node_memory_bytes=16)) == [
        "activation_checkpointing=True",
        "memory_bytes=16",  # without neighbours first
        "ranks=2 zero_stage=1",
        "zero_stage=2",
        "zero_stage=3",
        "ranks=3",
    ]


def test_a_named_disk_is_used_after_the_host() -> None:
    engine = EngineSettings(
        zero_stage=2, activation_checkpointing=True, offload_optimizer="cpu", nvme_path="/local"
    )
    assert climb(replace(GPU, engine=engine), Limits(Trains.WEIGHTS)) == [
        "zero_stage=3 offload_weights=cpu",
        "offload_optimizer=nvme offload_weights=nvme",
    ]


def test_weights_that_adapters_are_merged_into_never_go_to_a_disk() -> None:
    engine = EngineSettings(zero_stage=3, activation_checkpointing=True, nvme_path="/local")
    limits = Limits(Trains.ADAPTERS, lora=True)
    assert climb(replace(GPU, engine=engine), limits) == ["offload_weights=cpu"]


@pytest.mark.parametrize(
    ("blocks", "ranks", "rungs"),
    [(1, 1, []), (8, 4, ["micro_batch=1"]), (8, 1, ["micro_batch=4", "micro_batch=2"])],
)
def test_a_micro_batch_is_halved_from_what_a_rank_really_takes(
    blocks: int, ranks: int, rungs: list[str]
) -> None:
    start = replace(GPU, ranks=ranks, engine=EngineSettings(micro_batch=16))
    found = climb(start, Limits(Trains.WEIGHTS, blocks_per_step=blocks, max_ranks=ranks))
    assert found[: len(rungs)] == rungs


def test_a_stage_that_trains_nothing_takes_more_gpus_or_fewer_neighbours() -> None:
    assert climb(GPU, Limits(Trains.NOTHING, max_gpus=6, max_ranks=6)) == [
        "gpus=2",
        "gpus=4",
        "gpus=6",
    ]
    assert climb(replace(HOST, memory_bytes=10), Limits(Trains.NOTHING, node_memory_bytes=32)) == [
        "memory_bytes=20",
        "memory_bytes=32",
    ]
    assert climb(HOST, Limits(Trains.NOTHING, node_memory_bytes=32)) == []


def test_every_rung_is_a_setting_that_the_engine_accepts() -> None:
    """``model_copy`` does not validate."""
    layout: Layout | None = replace(
        GPU, engine=EngineSettings(zero_stage=0, micro_batch=8, nvme_path="/local")
    )
    while layout is not None:
        assert EngineSettings.model_validate(layout.engine.model_dump()) == layout.engine
        assert Layout.from_json(layout.to_json()) == layout
        layout = next_rung(layout, Limits(Trains.WEIGHTS, blocks_per_step=8, max_ranks=4))
