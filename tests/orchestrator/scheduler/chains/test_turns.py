"""Whose turn it is among the stages of one process."""

from dataclasses import dataclass

from orchestrator.scheduler.chains.turns import by_process, turns_of
from orchestrator.stages.stage_specs import StageKind, StageSpec


@dataclass(frozen=True)
class Stage:
    spec: StageSpec
    began: float | None = None
    chain: str = "one"


def running(*stages: Stage) -> dict[str, Stage]:
    return {str(stage.spec.kind): stage for stage in stages}


TRANSFER, PRUNE = StageSpec(StageKind.TRANSFER, {}), StageSpec(StageKind.PRUNE, {})
EVALUATE = StageSpec(StageKind.EVALUATE, {})


def test_those_behind_the_first_wait_and_are_not_counted() -> None:
    turns = turns_of(running(Stage(TRANSFER), Stage(PRUNE), Stage(EVALUATE)))
    assert turns.behind == {"prune": "transfer", "evaluate": "prune"}
    assert turns.hidden == {"prune", "evaluate"}
    assert turns.passed_to == {}


def test_one_whose_work_another_has_taken_up_has_passed_it_on() -> None:
    turns = turns_of(running(Stage(TRANSFER, 1.0), Stage(PRUNE, 2.0), Stage(EVALUATE)))
    assert turns.passed_to == {"transfer": "prune"}
    assert turns.behind == {"evaluate": "prune"}


def test_where_the_first_has_ended_the_next_stands_for_the_process() -> None:
    turns = turns_of(running(Stage(PRUNE, 2.0), Stage(EVALUATE)))
    assert turns.hidden == {"evaluate"}


def test_stages_that_are_alone_have_no_turns() -> None:
    turns = turns_of(running(Stage(TRANSFER, chain=""), Stage(PRUNE, chain="")))
    assert (turns.hidden, turns.behind, turns.passed_to) == (frozenset(), {}, {})


def test_stages_go_by_the_process_that_they_share_in_their_order() -> None:
    members = running(Stage(TRANSFER), Stage(EVALUATE, chain=""), Stage(PRUNE))
    assert by_process(members) == [["transfer", "prune"], ["evaluate"]]
