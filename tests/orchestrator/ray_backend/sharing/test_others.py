"""What other jobs hold of nodes: Ray's figures come late, and are not of whom."""

from collections.abc import Mapping

from orchestrator.ray_backend.sharing.others import Amounts, OtherJobs, Place, taken_of

ONE = {"CPU": 1.0}
GANG_RANK = {"CPU": 1.0, "GPU": 2.0}


def cpus(held: Mapping[str, Amounts]) -> dict[str, float]:
    return {node: amounts["CPU"] for node, amounts in held.items()}


def test_what_is_taken_and_not_ours_is_others() -> None:
    held = OtherJobs().look({"a": {"CPU": 4}, "b": {"CPU": 2}}, [Place("a", ONE)])
    assert cpus(held) == {"a": 3, "b": 2}


def test_a_stage_just_placed_is_not_somebody_elses() -> None:
    """Ray has counted it; its process has not come to say where it runs."""
    others = OtherJobs()
    others.look({"a": {"CPU": 3}}, [])
    assert cpus(others.look({"a": {"CPU": 4}}, [], waiting=[ONE])) == {"a": 3}
    assert cpus(others.look({"a": {"CPU": 4}}, [], waiting=[ONE])) == {"a": 3}, "nor ever"
    assert cpus(others.look({"a": {"CPU": 4}}, [Place("a", ONE)])) == {"a": 3}


def test_a_stage_that_said_where_it_runs_before_ray_has_counted_it() -> None:
    others = OtherJobs()
    others.look({"a": {}}, [])
    assert cpus(others.look({"a": {}}, [Place("a", ONE)])) == {"a": 0}
    assert cpus(others.look({"a": ONE}, [Place("a", ONE)])) == {"a": 0}


def test_a_stage_that_has_just_ended_is_not_somebody_elses() -> None:
    others = OtherJobs()
    others.look({"a": {"CPU": 4}}, [Place("a", ONE)])
    late = others.look({"a": {"CPU": 4}}, [], ended=[Place("a", ONE)])
    assert cpus(late) == {"a": 3}
    counted = others.look({"a": {"CPU": 3}}, [], ended=[Place("a", ONE)])
    assert cpus(counted) == {"a": 3}, "what others hold is not taken off for it"


def test_what_others_take_while_a_stage_waits_is_theirs_where_it_cannot_be_the_stage() -> None:
    others = OtherJobs()
    others.look({"a": {"CPU": 1}}, [])
    held = others.look({"a": {"CPU": 3, "GPU": 1}}, [], waiting=[GANG_RANK])
    assert held["a"] == {"CPU": 3, "GPU": 1, "memory": 0}


def test_the_ranks_of_a_gang_are_found_on_the_nodes_that_have_grown() -> None:
    others = OtherJobs()
    others.look({"a": {"GPU": 4}, "b": {}, "c": {}}, [])
    taken = {"a": {"GPU": 4}, "b": dict(GANG_RANK), "c": {"CPU": 2.0, "GPU": 4.0}}
    held = others.look(taken, [], waiting=[GANG_RANK] * 3)
    assert {node: amounts["GPU"] for node, amounts in held.items()} == {"a": 4, "b": 0, "c": 0}


def test_what_others_give_back_is_seen_at_once() -> None:
    others = OtherJobs()
    others.look({"a": {"CPU": 4}}, [])
    assert cpus(others.look({"a": {"CPU": 1}}, [], waiting=[ONE])) == {"a": 1}


def test_a_stage_on_a_node_that_is_gone_takes_nothing_of_the_others() -> None:
    assert cpus(OtherJobs().look({"a": {"CPU": 2}}, [Place("gone", ONE)])) == {"a": 2}


def test_a_node_of_which_nothing_is_known_has_just_come() -> None:
    taken = taken_of({"a": {"CPU": 4}, "b": {"CPU": 4}}, {"a": {"CPU": 1}})
    assert cpus(taken) == {"a": 3, "b": 0}


def test_a_node_without_anything_free_is_taken_whole() -> None:
    """Ray leaves out a resource of which nothing is free."""
    assert taken_of({"a": {"CPU": 4, "GPU": 1}}, {"a": {}})["a"] == {
        "CPU": 4,
        "GPU": 1,
        "memory": 0,
    }
