"""What drivers together ask of an autoscaler, and what they leave to strangers."""

from orchestrator.layouts.layout import Layout
from orchestrator.ray_backend.growth.requests import Wants, bundles_of

ONE, FOUR = {"GPU": 1.0, "CPU": 8.0}, {"GPU": 4.0}


def ordered(bundles: list[dict[str, float]] | None) -> list[dict[str, float]]:
    assert bundles is not None
    return sorted(bundles, key=lambda bundle: sorted(bundle.items()))


def test_a_gang_is_a_bundle_for_each_rank() -> None:
    assert bundles_of([Layout(ranks=2, cpus=8, gpus=1)], with_memory=True) == [ONE, ONE]


def test_memory_is_asked_for_where_nodes_declare_it() -> None:
    layout = Layout(memory_bytes=5)
    assert bundles_of([layout], with_memory=True) == [{"CPU": 1.0, "memory": 5.0}]
    assert bundles_of([layout], with_memory=False) == [{"CPU": 1.0}]


def test_a_type_of_gpu_is_asked_for_where_nodes_declare_it() -> None:
    layout = Layout(gpus=0.5, gpu_type="H100")
    typed = {"CPU": 1.0, "GPU": 0.5, "accelerator_type:H100": 0.001}
    assert bundles_of([layout], with_memory=True, gpu_types={"H100"}) == [typed]
    assert bundles_of([layout], with_memory=True) == [{"CPU": 1.0, "GPU": 0.5}]


def test_what_all_jobs_want_is_asked_for_at_once() -> None:
    wants = Wants()
    wants.set("a", [ONE])
    wants.set("b", [FOUR, ONE])
    assert ordered(wants.request([])) == ordered([ONE, ONE, FOUR])


def test_what_is_asked_for_already_is_not_asked_again() -> None:
    wants = Wants()
    wants.set("a", [ONE, FOUR])
    standing = wants.request([])
    assert standing is not None
    assert wants.request(list(reversed(standing))) is None


def test_a_strangers_request_stays_beside_ours_and_after_it() -> None:
    wants = Wants()
    wants.set("a", [ONE])
    both = wants.request([FOUR])
    assert ordered(both) == ordered([ONE, FOUR])
    wants.set("a", [])
    assert wants.nothing
    assert wants.request(both or []) == [FOUR]


def test_an_equal_request_of_a_stranger_stays_as_well() -> None:
    wants = Wants()
    wants.set("a", [ONE])
    both = wants.request([ONE])
    assert both == [ONE, ONE]
    wants.set("a", [])
    assert wants.request(both) == [ONE]


def test_a_strangers_new_request_replaces_ours_which_is_asked_for_again() -> None:
    wants = Wants()
    wants.set("a", [ONE])
    wants.request([])
    assert ordered(wants.request([FOUR])) == ordered([ONE, FOUR])


def test_what_a_job_wanted_that_is_gone_is_let_go() -> None:
    wants = Wants()
    wants.set("a", [ONE])
    wants.set("b", [FOUR])
    standing = wants.request([])
    wants.keep({"b"})
    assert wants.request(standing or []) == [FOUR]
    wants.keep(set())
    assert wants.nothing


def test_whoever_keeps_the_wants_next_knows_what_was_ours() -> None:
    """Else what its predecessor asked for would look like a stranger's, and stay for ever."""
    before = Wants()
    before.set("a", [ONE])
    standing = before.request([FOUR])
    after = Wants(before.asked)
    assert after.request(standing or []) == [FOUR]
