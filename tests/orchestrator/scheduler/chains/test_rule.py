"""Which stages follow one another in one process, and the room that they share."""

import pytest

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.chains.rule import Candidate, chain_of, covering, may_lead, own_layout
from orchestrator.stages.stage_specs import StageKind, StageSpec
from trsp.config import EngineSettings

GB = 10**9
NODE = Capacity(cpus=64, gpus=8, memory_bytes=1000 * GB, gpu_memory_bytes=80 * GB)
HOST = Capacity(cpus=4, memory_bytes=16 * GB)
TRANSFER, PRUNE = StageSpec(StageKind.TRANSFER, {}), StageSpec(StageKind.PRUNE, {})
EVALUATE, MEASURE = StageSpec(StageKind.EVALUATE, {}), StageSpec(StageKind.MEASURE, {})
DELETES = Candidate(PRUNE, (Layout(memory_bytes=4 * GB),))


def evaluates(gpus: float, **others: object) -> Candidate:
    return Candidate(EVALUATE, (Layout(gpus=gpus, memory_bytes=GB, **others),))  # type: ignore[arg-type]


def kinds(head: StageSpec, own: Layout, *candidates: Candidate, on: Capacity = NODE) -> list[str]:
    return [each.spec.kind for each in chain_of(head, own, candidates, on).followers]


def test_stages_that_take_as_much_follow_one_another_in_the_heads_room() -> None:
    own = Layout(gpus=1, memory_bytes=8 * GB, engine=EngineSettings(micro_batch=4))
    chain = chain_of(TRANSFER, own, [DELETES, evaluates(1)], NODE)
    assert [each.spec.kind for each in chain.followers] == ["prune", "evaluate"]
    assert chain.room == own


def test_a_deletion_that_an_evaluation_follows_is_on_its_gpu() -> None:
    chain = chain_of(PRUNE, DELETES.layouts[0], [evaluates(0.25)], NODE)
    assert chain.room == Layout(gpus=0.25, memory_bytes=4 * GB)


def test_a_deletion_that_nothing_follows_takes_no_gpu() -> None:
    assert chain_of(PRUNE, DELETES.layouts[0], [], NODE).room.gpus == 0


def test_a_training_does_not_keep_its_hosts_memory_for_an_evaluation() -> None:
    """The optimizer of 8 GPUs, offloaded: meanwhile no other training could offload its own."""
    own = Layout(gpus=1, memory_bytes=700 * GB)
    assert kinds(TRANSFER, own, DELETES, evaluates(1)) == ["prune"]


def test_a_training_does_not_keep_its_gpu_for_an_evaluation_that_needs_an_eighth() -> None:
    assert kinds(TRANSFER, Layout(gpus=1), DELETES, evaluates(1 / 8)) == ["prune"]


@pytest.mark.parametrize("part", [1, 1 / 2])
def test_twice_what_an_evaluation_takes_alone_is_little_beside_a_start(part: float) -> None:
    assert kinds(TRANSFER, Layout(gpus=1), DELETES, evaluates(part)) == ["prune", "evaluate"]


def test_memory_that_there_is_plenty_of_is_not_wasted() -> None:
    """Of 4 CPUs and 16 GB, a stage of one CPU may well hold four."""
    own = Layout(memory_bytes=6 * GB)
    assert kinds(TRANSFER, own, DELETES, evaluates(0), on=HOST) == ["prune", "evaluate"]


def test_a_chain_on_which_one_node_has_not_enough_is_shorter() -> None:
    nodes = Capacity.of([Capacity(2, memory_bytes=16 * GB)] * 2)
    too_large = Candidate(EVALUATE, (Layout(memory_bytes=20 * GB),))
    assert kinds(PRUNE, Layout(memory_bytes=12 * GB), too_large, on=nodes) == []


def test_gpus_of_two_types_are_no_room() -> None:
    training = Layout(gpus=1, gpu_type="A100")
    assert kinds(TRANSFER, training, DELETES, evaluates(1, gpu_type="H100")) == ["prune"]


def test_another_layout_is_taken_where_the_best_does_not_join() -> None:
    training = Layout(gpus=1, gpu_type="A100")
    either = Candidate(EVALUATE, tuple(Layout(gpus=1, gpu_type=name) for name in ("H100", "A100")))
    chain = chain_of(TRANSFER, training, [DELETES, either], NODE)
    assert chain.followers[1].layout.gpu_type == "A100"


def test_speed_is_measured_on_as_many_whole_gpus_as_by_itself() -> None:
    measures = Candidate(MEASURE, (Layout(gpus=1),))
    assert kinds(PRUNE, Layout(), evaluates(1), measures) == ["evaluate", "measure"]
    assert kinds(PRUNE, Layout(), evaluates(2), measures) == ["evaluate"]


def test_a_room_grows_to_a_whole_gpu_for_a_measurement_where_little_is_wasted() -> None:
    measures = Candidate(MEASURE, (Layout(gpus=1),))
    chain = chain_of(PRUNE, Layout(), [evaluates(1 / 2), measures], NODE)
    assert (chain.room.gpus, len(chain.followers)) == (1, 2)
    assert kinds(PRUNE, Layout(), evaluates(1 / 4), measures) == ["evaluate"]


def test_in_a_room_that_is_taken_already_those_follow_for_whom_it_is_enough() -> None:
    chain = chain_of(PRUNE, Layout(), [evaluates(1)], NODE, room=Layout())
    assert chain.followers == ()
    room = Layout(gpus=1, memory_bytes=GB)
    assert len(chain_of(PRUNE, Layout(), [evaluates(1)], NODE, room=room).followers) == 1


def test_only_one_process_that_holds_the_whole_model_leads() -> None:
    assert may_lead(TRANSFER, Layout())
    assert may_lead(PRUNE, Layout())
    assert not may_lead(TRANSFER, Layout(ranks=2))
    assert not may_lead(EVALUATE, Layout())


def test_a_room_is_enough_for_both_whichever_needs_more_of_what() -> None:
    room = covering(Layout(cpus=1, memory_bytes=9, gpus=0), Layout(cpus=4, memory_bytes=1, gpus=2))
    assert room == Layout(cpus=4, memory_bytes=9, gpus=2)


def test_whatever_the_room_a_stage_keeps_the_layout_that_it_has_alone() -> None:
    """Its ladder of layouts is climbed from there."""
    small, large = Layout(memory_bytes=4), Layout(memory_bytes=16)
    assert own_layout(Layout(gpus=1, memory_bytes=9), (large, small)) == small
    assert own_layout(large, (small, large)) == large
