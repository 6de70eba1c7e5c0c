"""The ladder: rung after rung for what is trained and what there is, and nothing that cannot help."""

from dataclasses import replace

import pytest

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.ladder import Limits, next_rung
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.workload import Trains
from trsp.config import EngineSettings

GPU = Layout(ranks=1, cpus=4, gpus=1, engine=EngineSettings(zero_stage=0))
HOST = Layout(ranks=1, cpus=4, engine=EngineSettings(zero_stage=0))


def climb(layout: Layout, limits: Limits) -> list[str]:
    """What changes from rung to rung, to the end."""
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


def test_a_layout_for_people() -> None:
    engine = EngineSettings(zero_stage=3, activation_checkpointing=True, offload_optimizer="cpu")
    assert Layout(2, 4, 1, engine=engine).text == (
        "2 ranks of 1 GPU, ZeRO 3, micro-batch 1, activation checkpointing, optimizer on cpu"
    )
    assert Layout().text == "1 rank of 1 CPU, ZeRO 2, micro-batch 1"


def test_what_the_user_says_of_memory_limits_what_was_found() -> None:
    cluster = Capacity.of([Capacity(6, 1, 50, 40), Capacity(2, 1, 0, 80)])
    assert (cluster.cpus, cluster.gpus, cluster.memory_bytes, cluster.gpu_memory_bytes) == (
        8,
        2,
        50,
        40,
    )
    limited = cluster.limited(80, 16)
    assert [node.memory_bytes for node in limited.nodes] == [50, 20], (
        "6 and 2 of 8 CPUs; the first has no more"
    )
    assert {limited.gpu_memory_bytes, *(node.gpu_memory_bytes for node in limited.nodes)} == {16}
    assert limited.memory_bytes == 70
    assert cluster.limited(None, None) == cluster
    assert Capacity(2, memory_bytes=50).limited(20, None) == Capacity(2, memory_bytes=20)
    assert Capacity(2).limited(20, None).memory_bytes == 20
