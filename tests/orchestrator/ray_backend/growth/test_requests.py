"""What drivers together ask of an autoscaler, and what they leave to strangers."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.layouts.layout import Layout
from orchestrator.ray_backend.growth.fitting import Bundle, Room
from orchestrator.ray_backend.growth.requests import Want, Wants, bundles_of

ONE, FOUR = {"GPU": 1.0, "CPU": 8.0}, {"GPU": 4.0}


NODES = [{"CPU": 96.0, "GPU": 8.0}] * 2


def want(*bundles: Bundle, placed: int = 0, others: Sequence[Bundle] = ()) -> Want:
    """What a job wants that has so many processes of one GPU on a cluster of 16 GPUs."""
    groups = [[bundle] for bundle in bundles]
    return Want(groups, [ONE] * placed, others, NODES)


def ordered(bundles: list[dict[str, float]] | None) -> list[dict[str, float]]:
    assert bundles is not None
    return sorted(bundles, key=lambda bundle: sorted(bundle.items()))


def test_a_gang_is_a_bundle_for_each_rank() -> None:
    assert bundles_of([Layout(ranks=2, cpus=8, gpus=1)], with_memory=True) == [[ONE, ONE]]


def test_memory_is_asked_for_where_nodes_declare_it() -> None:
    layout = Layout(memory_bytes=5)
    assert bundles_of([layout], with_memory=True) == [[{"CPU": 1.0, "memory": 5.0}]]
    assert bundles_of([layout], with_memory=False) == [[{"CPU": 1.0}]]


def test_a_type_of_gpu_is_asked_for_where_nodes_declare_it() -> None:
    layout = Layout(gpus=0.5, gpu_type="H100")
    typed = {"CPU": 1.0, "GPU": 0.5, "accelerator_type:H100": 0.001}
    assert bundles_of([layout], with_memory=True, gpu_types={"H100"}) == [[typed]]
    assert bundles_of([layout], with_memory=True) == [[{"CPU": 1.0, "GPU": 0.5}]]


def test_what_all_jobs_want_is_asked_for_at_once() -> None:
    wants = Wants()
    wants.set("a", want(ONE))
    wants.set("b", want(FOUR, ONE))
    assert ordered(wants.request([])) == ordered([ONE, ONE, FOUR])


def test_what_another_driver_of_ours_holds_is_asked_for_once() -> None:
    """To each driver the other's stages are others', and were asked for by both."""
    wants = Wants()
    wants.set("a", want(ONE, ONE, placed=1, others=[{"CPU": 8.0, "GPU": 1.0}]))
    wants.set("b", want(ONE, ONE, placed=1, others=[{"CPU": 8.0, "GPU": 1.0}]))
    assert wants.request([]) == [ONE] * 4


def test_what_strangers_hold_is_asked_for_beside_what_drivers_want() -> None:
    wants = Wants()
    held = {"CPU": 12.0, "GPU": 3.0}
    wants.set("a", want(ONE, placed=1, others=[held]))
    wants.set("b", want(ONE, others=[{"CPU": 20.0, "GPU": 4.0}]))
    assert ordered(wants.request([])) == ordered([held, ONE, ONE])


def test_two_drivers_together_ask_for_no_more_than_the_cluster_can_become() -> None:
    """For more than that Ray's second autoscaler starts nothing: neither driver got a node."""
    wants = Wants()
    wants.set("a", want(*[ONE] * 16))
    wants.set("b", want(*[FOUR] * 4))
    assert ordered(wants.request([])) == ordered([*[FOUR] * 3, *[ONE] * 4])


def test_what_strangers_ask_for_leaves_less_room_for_two_drivers() -> None:
    wants, stranger = Wants(), {"CPU": 90.0, "GPU": 8.0}
    wants.set("a", want(*[ONE] * 16))
    wants.set("b", want(ONE))
    assert ordered(wants.request([stranger])) == ordered([stranger, *[ONE] * 8])


def test_a_driver_that_looks_at_no_gpus_takes_none_from_another() -> None:
    wants = Wants()
    wants.set("a", want(ONE))
    wants.set("b", Want([[{"CPU": 1.0}]], there=[{"CPU": 96.0}] * 2))
    assert ordered(wants.request([])) == ordered([ONE, {"CPU": 1.0}])


def test_nodes_of_several_types_that_cannot_all_come_are_not_asked_for_at_once() -> None:
    """One driver, 2 nodes of 8 GPUs or 2 of CPUs only, 2 in all: none came of a request for 4."""
    wants, cpus = Wants(), {"CPU": 64.0}
    want = Want([[cpus], [cpus], [ONE], [ONE]], (), (), [], [{"CPU": 64.0}] * 2 + NODES, 2)
    wants.set("a", want)
    assert wants.request([]) == [cpus, cpus]
    wants.set("a", replace(want, may_come=3))
    assert ordered(wants.request([])) == ordered([cpus, cpus, ONE, ONE])


def test_a_gang_takes_its_room_whole_or_none_of_it() -> None:
    room = Room(NODES[:1], NODES[:1])
    assert not room.take([ONE] * 17)
    assert room.take([ONE] * 16)
    assert not room.take([ONE])


def test_what_is_asked_for_already_is_not_asked_again() -> None:
    wants = Wants()
    wants.set("a", want(ONE, FOUR))
    standing = wants.request([])
    assert standing is not None
    assert wants.request(list(reversed(standing))) is None


def test_a_strangers_request_stays_beside_ours_and_after_it() -> None:
    wants = Wants()
    wants.set("a", want(ONE))
    both = wants.request([FOUR])
    assert ordered(both) == ordered([ONE, FOUR])
    wants.set("a", want())
    assert wants.nothing
    assert wants.request(both or []) == [FOUR]


def test_an_equal_request_of_a_stranger_stays_as_well() -> None:
    wants = Wants()
    wants.set("a", want(ONE))
    both = wants.request([ONE])
    assert both == [ONE, ONE]
    wants.set("a", want())
    assert wants.request(both) == [ONE]


def test_a_strangers_new_request_replaces_ours_which_is_asked_for_again() -> None:
    wants = Wants()
    wants.set("a", want(ONE))
    wants.request([])
    assert ordered(wants.request([FOUR])) == ordered([ONE, FOUR])


def test_what_a_job_wanted_that_is_gone_is_let_go() -> None:
    wants = Wants()
    wants.set("a", want(ONE))
    wants.set("b", want(FOUR))
    standing = wants.request([])
    wants.keep({"b"})
    assert wants.request(standing or []) == [FOUR]
    wants.keep(set())
    assert wants.nothing


def test_whoever_keeps_the_wants_next_knows_what_was_ours() -> None:
    """Else what its predecessor asked for would look like a stranger's, and stay for ever."""
    before = Wants()
    before.set("a", want(ONE))
    standing = before.request([FOUR])
    after = Wants(before.asked)
    assert after.request(standing or []) == [FOUR]
