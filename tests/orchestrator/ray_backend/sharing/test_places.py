"""On which nodes stages failed, and are not to run. Needs no cluster."""

import pytest

from orchestrator.ray_backend.sharing import places
from orchestrator.ray_backend.sharing.places import located, where_in_words, without
from orchestrator.store.failures import Failure, Node, RankFailure

NODES = [{"NodeID": "a1", "NodeManagerAddress": "10.0.0.4"}]


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places.ray, "nodes", lambda: NODES)


def test_a_selector_leaves_out_the_avoided_nodes_alone() -> None:
    assert without(["b2", "a1"]) == {"ray.io/node-id": "!in(a1,b2)"}
    assert without([]) == {}


def test_a_process_that_is_gone_failed_where_it_was_started() -> None:
    assert located(Failure("E", "m"), {0: "a1"}).node == Node("a1", "10.0.0.4")
    assert located(Failure("E", "m"), {0: "gone"}).node == Node("gone", "gone")
    assert located(Failure("E", "m"), {}).node == Node()


def test_a_gang_failed_where_the_first_rank_of_the_cause_was() -> None:
    failure = Failure("E", "m", ranks=(RankFailure((1, 2), "E", "m"), RankFailure((0,), "E", "m")))
    assert located(failure, {0: "b2", 1: "a1"}).node.id == "a1"


def test_what_a_failure_says_itself_of_its_node_stands() -> None:
    failure = Failure("E", "m", node=Node("b2", "10.0.0.5"))
    assert located(failure, {0: "a1"}) == failure


TWO = {"a1": "10.0.0.4", "b2": "10.0.0.5"}


@pytest.mark.parametrize(
    ("nodes", "gpus", "addresses", "words"),
    [
        ({0: "a1"}, {}, {"a1": "10.0.0.4"}, ""),
        ({0: "a1"}, {}, TWO, "10.0.0.4"),
        ({0: "a1"}, {0: "2"}, TWO, "10.0.0.4, GPU 2"),
        ({0: "a1"}, {0: "2,3"}, {"a1": "10.0.0.4"}, "GPUs 2,3"),
        ({0: "a1", 1: "a1"}, {0: "0", 1: "1"}, {"a1": "10.0.0.4"}, "2 ranks"),
        ({0: "a1", 1: "b2"}, {0: "0", 1: "0"}, TWO, "2 ranks on 10.0.0.4, 10.0.0.5"),
    ],
)
def test_where_a_stage_runs_in_words(
    nodes: dict[int, str], gpus: dict[int, str], addresses: dict[str, str], words: str
) -> None:
    """Nothing is said where there is one place only."""
    assert where_in_words(nodes, gpus, addresses) == words
