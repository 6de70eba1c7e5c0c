"""Decisions from facts: what starts, what waits and why, what is given up."""

from dataclasses import replace
from typing import Any

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.order import PRIORITY
from orchestrator.scheduler.policy import (
    Decision,
    Facts,
    GiveUp,
    Running,
    Start,
    Wait,
    decide,
    distinct_needs,
)
from orchestrator.scheduler.retries import Attempts
from orchestrator.stages.stage_specs import SCHEDULED, StageKind, StageSpec


def spec(kind: StageKind, name: str = "") -> StageSpec:
    return StageSpec(kind, {"name": name})


RANK, TRANSFER, MEASURE, EVALUATE = (
    spec(kind)
    for kind in (StageKind.RANKING, StageKind.TRANSFER, StageKind.MEASURE, StageKind.EVALUATE)
)


def decided(needs: list[StageSpec], cpus: int = 1, **facts: Any) -> tuple[Decision, ...]:
    return decide(Facts(needs, **({"capacity": Capacity(cpus)} | facts)), max_attempts=2)


def starts(decisions: tuple[Decision, ...]) -> list[StageKind]:
    return [decision.spec.kind for decision in decisions if isinstance(decision, Start)]


def reasons(decisions: tuple[Decision, ...]) -> list[str]:
    return [decision.reason for decision in decisions if isinstance(decision, Wait)]


def test_every_kind_has_a_priority() -> None:
    assert sorted(PRIORITY) == sorted(SCHEDULED)


def test_rankings_first_then_what_finishes_a_cell_and_measurements_last() -> None:
    needs = [spec(kind) for kind in sorted(SCHEDULED)]
    assert starts(decided(needs, cpus=9)) == [
        kind for kind in PRIORITY if kind is not StageKind.MEASURE
    ]


def test_equal_needs_are_one_and_a_ranking_is_as_deep_as_the_deepest() -> None:
    shallow, deep = replace(RANK, depth=2), replace(RANK, depth=5)
    for needed in ([shallow, EVALUATE, deep, shallow], [deep, EVALUATE, shallow]):
        distinct = distinct_needs(needed)
        assert [(one.kind, one.depth) for one in distinct] == [
            (StageKind.RANKING, 5),
            (StageKind.EVALUATE, 0),
        ]


def test_no_more_starts_than_there_is_room_for() -> None:
    needs = [spec(StageKind.EVALUATE, str(i)) for i in range(5)]
    running = {f"evaluate-{i}": Running(StageKind.EVALUATE) for i in range(2)}
    decisions = decided(needs, running=running, cpus=4)
    assert len(starts(decisions)) == 2
    assert reasons(decisions) == ["waits for 1 CPU"] * 3


def test_more_running_than_fits_after_a_node_was_lost() -> None:
    running = {f"evaluate-{i}": Running(StageKind.EVALUATE) for i in range(4)}
    assert starts(decided([RANK], running=running, cpus=1)) == []


def test_what_runs_is_not_decided_about() -> None:
    assert decided([RANK], running={RANK.key: Running(StageKind.RANKING)}, cpus=9) == ()


def test_a_failure_is_tried_again_up_to_the_limit() -> None:
    (first,) = decided([RANK])
    (second,) = decided([RANK], attempts={RANK.key: Attempts(1, "MemoryError: 12 GB")})
    (third,) = decided([RANK], attempts={RANK.key: Attempts(2, "MemoryError: 12 GB")})
    assert first == Start(RANK)
    assert second == Start(RANK)
    assert third == GiveUp(RANK, "MemoryError: 12 GB")


def test_an_error_of_the_users_is_not_tried_again() -> None:
    (decision,) = decided(
        [RANK],
        attempts={RANK.key: Attempts(1, "InvalidInputError: no such model", retryable=False)},
    )
    assert decision == GiveUp(RANK, "InvalidInputError: no such model")


def test_giving_up_takes_no_room() -> None:
    decisions = decided([RANK, TRANSFER], attempts={RANK.key: Attempts(2, "gone")}, cpus=1)
    assert starts(decisions) == [StageKind.TRANSFER]


def test_what_another_driver_works_on_is_left_to_it_and_takes_no_room() -> None:
    decisions = decided([RANK, TRANSFER], claimed_elsewhere={RANK.key: "another driver"}, cpus=1)
    assert reasons(decisions) == ["another driver works on it"]
    assert starts(decisions) == [StageKind.TRANSFER]


def test_a_measurement_waits_until_it_is_alone() -> None:
    assert reasons(decided([MEASURE], running={"rank-1": Running(StageKind.RANKING)}, cpus=4)) == [
        "waits for a quiet machine"
    ]
    beside = decided([MEASURE, EVALUATE], cpus=4)
    assert starts(beside) == [StageKind.EVALUATE]
    assert reasons(beside) == ["waits for a quiet machine"]
    assert starts(decided([MEASURE], cpus=4)) == [StageKind.MEASURE]


def test_nothing_starts_beside_a_measurement() -> None:
    decisions = decided([RANK, EVALUATE], running={"measure-1": Running(StageKind.MEASURE)}, cpus=4)
    assert reasons(decisions) == ["a measurement has the machine for itself"] * 2
    two = decided([spec(StageKind.MEASURE, "a"), spec(StageKind.MEASURE, "b")], cpus=4)
    assert starts(two) == [StageKind.MEASURE]


def test_where_measurements_have_their_own_accelerator_they_run_beside_others() -> None:
    decisions = decided(
        [MEASURE, EVALUATE],
        running={"measure-1": Running(StageKind.MEASURE)},
        cpus=4,
        measure_alone=False,
    )
    assert starts(decisions) == [StageKind.EVALUATE, StageKind.MEASURE]


# --- room --------------------------------------------------------------------


GANG, BIG = spec(StageKind.TRANSFER, "gang"), spec(StageKind.RANKING, "big")
SMALL = [spec(StageKind.TRANSFER, f"small {number}") for number in range(8)]


def on_gpus(ranks: int) -> Layout:
    return Layout(ranks=ranks, gpus=1)


def test_a_gang_starts_whole_or_waits() -> None:
    facts = {"layouts": {GANG.key: on_gpus(3)}, "capacity": Capacity(8, 4)}
    assert decided([GANG], **facts) == (Start(GANG, on_gpus(3)),)
    beside = {"rank-1": Running(StageKind.RANKING, on_gpus(2))}
    assert reasons(decided([GANG], running=beside, **facts)) == ["waits for 3 x (1 GPU, 1 CPU)"]


def test_memory_of_the_hosts_is_room_too() -> None:
    layouts = {one.key: Layout(memory_bytes=10) for one in SMALL}
    assert len(starts(decided(SMALL, layouts=layouts, capacity=Capacity(8, memory_bytes=35)))) == 3
    assert len(starts(decided(SMALL, layouts=layouts, capacity=Capacity(8)))) == 8


def test_a_stage_larger_than_the_cluster_is_given_up_with_what_it_needs() -> None:
    decisions = decided([GANG, RANK], layouts={GANG.key: on_gpus(8)}, capacity=Capacity(8, 4))
    assert (
        GiveUp(GANG, "needs 8 x (1 GPU, 1 CPU); the whole cluster has 4 GPUs, 8 CPUs") in decisions
    )
    assert starts(decisions) == [StageKind.RANKING]


def test_one_that_fitted_before_nodes_were_lost_waits_for_them() -> None:
    lost = {
        "layouts": {GANG.key: on_gpus(8)},
        "capacity": Capacity(4, 4),
        "largest_capacity": Capacity(8, 8),
    }
    decisions = decided([GANG, *SMALL[:1]], **lost)
    assert reasons(decisions) == [
        "needs 8 x (1 GPU, 1 CPU), and waits for nodes to come back: there are 4 GPUs, 4 CPUs"
    ]
    assert starts(decisions) == [StageKind.TRANSFER], "and keeps nobody else waiting"


def test_a_stage_for_which_no_layout_was_found_is_given_up() -> None:
    refused = {GANG.key: "needs 3 GPUs of 80 GB"}
    assert decided([GANG], refused=refused) == (GiveUp(GANG, "needs 3 GPUs of 80 GB"),)


GROWING = {"capacity": Capacity(4), "potential": Capacity(99, 32)}
GROWING |= {"largest_capacity": GROWING["potential"]}


def test_what_fits_only_what_the_cluster_can_become_waits_for_nodes_that_can_come() -> None:
    decisions = decided([GANG], layouts={GANG.key: on_gpus(16)}, **GROWING)
    assert decisions == (
        Wait(
            GANG,
            "needs 16 x (1 GPU, 1 CPU), and waits for nodes that can come: there are 4 CPUs",
            for_room=(on_gpus(16),),
        ),
    )


def test_what_can_never_fit_is_refused_with_the_largest_that_the_cluster_can_become() -> None:
    assert decided([GANG], layouts={GANG.key: on_gpus(64)}, **GROWING) == (
        GiveUp(
            GANG,
            "needs 64 x (1 GPU, 1 CPU); "
            "the largest that the cluster can become has 32 GPUs, 99 CPUs",
        ),
    )


def test_a_limit_of_stages_counts_beside_the_room_that_there_is() -> None:
    layouts = {GANG.key: on_gpus(16)}
    decisions = decided([GANG, *SMALL], layouts=layouts, max_parallel=3, **GROWING)
    assert starts(decisions) == [StageKind.TRANSFER] * 3
    assert reasons(decisions)[1:] == ["waits for a free slot"] * 5
    alone = decided(SMALL, capacity=Capacity(1), max_parallel=3)
    assert len(starts(alone)) == 1, "a limit makes no room"


def test_small_stages_use_what_a_waiting_gang_leaves_over() -> None:
    """4 of 8 GPUs are taken; the gang of 6 waits for them, and 2 GPUs are nobody's until then."""
    layouts = {BIG.key: on_gpus(6)} | {one.key: on_gpus(1) for one in SMALL}
    running = {"rank-1": Running(StageKind.RANKING, on_gpus(4))}
    decisions = decided([*SMALL, BIG], layouts=layouts, capacity=Capacity(99, 8), running=running)
    assert len(starts(decisions)) == 2
    assert reasons(decisions) == [
        "waits for 6 x (1 GPU, 1 CPU)",
        *["waits behind a larger stage"] * 6,
    ]


def test_a_gang_waits_for_those_that_ran_before_it_and_for_no_others() -> None:
    """Small stages come and go for ever, and the gang still starts.

    It does when the first stage that it found running has ended.
    """
    layouts = {BIG.key: on_gpus(6)} | {one.key: on_gpus(1) for one in SMALL}
    running = {"rank-1": Running(StageKind.RANKING, on_gpus(4))}
    for turn in range(40):
        decisions = decided(
            [*SMALL, BIG], layouts=layouts, capacity=Capacity(99, 8), running=running
        )
        begun = {
            one.spec.key: Running(one.spec.kind, one.layout)
            for one in decisions
            if isinstance(one, Start)
        }
        assert BIG.key not in begun
        running |= begun
        small = [key for key in running if key != "rank-1"]
        assert len(small) == 2
        del running[small[turn * 7 % 2]]
    del running["rank-1"]
    decisions = decided([*SMALL, BIG], layouts=layouts, capacity=Capacity(99, 8), running=running)
    assert decisions[0] == Start(BIG, on_gpus(6))
