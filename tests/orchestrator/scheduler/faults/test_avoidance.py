"""Which nodes are avoided, after which failures, and for how long."""

from pathlib import Path

import pytest

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.faults.avoidance import FORGET_S, Avoidance, is_missed
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.failures import Failure, FailureKind, Node
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import Clock, FakeLauncher, controller_of, drive, resolved

BAD, GOOD = Node("a1", "10.0.0.4"), Node("b2", "10.0.0.5")
BROKEN = "CUDA error: an illegal memory access was encountered"


def failure(node: Node = BAD, kind: FailureKind = FailureKind.UNKNOWN, rank: int = 0) -> Failure:
    return Failure("RuntimeError", BROKEN, kind, node=node, when=float(rank))


def seen(*failed: tuple[str, Node], kind: FailureKind = FailureKind.UNKNOWN) -> Avoidance:
    """What is known after these stages have failed on these nodes, in this order, at 0 s."""
    avoidance = Avoidance()
    for key, node in failed:
        avoidance.see(key, failure(node, kind), now=0)
    return avoidance


def test_a_node_where_several_stages_failed_is_avoided_and_named() -> None:
    assert seen(("rank-1", BAD), ("prune-2", BAD), ("prune-3", GOOD)).nodes(now=1) == {
        "a1": "node 10.0.0.4 is avoided: 2 stages failed there, the last of RuntimeError: " + BROKEN
    }


def test_a_stage_that_failed_there_twice_is_tried_elsewhere() -> None:
    (line,) = seen(("rank-1", BAD), ("rank-1", BAD)).nodes(now=1).values()
    assert line.startswith("node 10.0.0.4 is avoided: 2 attempts at a stage failed there")


def test_one_failure_says_nothing() -> None:
    assert seen(("rank-1", BAD), ("rank-2", GOOD)).nodes(now=1) == {}


def test_a_stage_that_fails_elsewhere_too_is_at_fault_itself() -> None:
    avoidance = seen(("rank-1", BAD), ("rank-1", BAD), ("rank-1", GOOD))
    assert avoidance.nodes(now=1) == {}


@pytest.mark.parametrize(
    "kind",
    [
        FailureKind.OUT_OF_MEMORY,
        FailureKind.DIVERGED,
        FailureKind.BAD_INPUT,
        FailureKind.TIMEOUT,
        FailureKind.PREEMPTED,
        FailureKind.NODE_LOST,
    ],
)
def test_failures_of_the_stages_own_say_nothing_of_nodes(kind: FailureKind) -> None:
    assert seen(("rank-1", BAD), ("rank-2", BAD), kind=kind).nodes(now=1) == {}


def test_a_failure_whose_node_is_not_known_says_nothing() -> None:
    assert seen(("rank-1", Node()), ("rank-2", Node())).nodes(now=1) == {}


def test_a_node_is_avoided_for_an_hour() -> None:
    avoidance = seen(("rank-1", BAD), ("rank-2", BAD))
    assert avoidance.nodes(now=FORGET_S - 1)
    assert avoidance.nodes(now=FORGET_S + 1) == {}


def test_a_node_is_missed_where_something_fits_only_with_it() -> None:
    one, two = Capacity(cpus=4), Capacity(cpus=8)
    assert is_missed([Layout(cpus=2), Layout(cpus=6)], one, two)
    assert not is_missed([Layout(cpus=2), Layout(cpus=9)], one, two), "that one never fits"


class TwoNodes(FakeLauncher):
    """A cluster of two nodes of two CPUs each; everything fails on the first, unless avoided."""

    def capacity(self) -> Capacity:
        return Capacity.of([Capacity(cpus=2)] * (2 - len(self.avoids & {"a1", "b2"})))

    def _end(self, task: object) -> Failure | None:
        if "a1" not in self.avoids:
            return failure(rank=len(self.started))
        return super()._end(task)  # type: ignore[arg-type]


def test_a_grid_goes_on_beside_a_bad_node_and_says_so(tmp_path: Path) -> None:
    launcher, clock = TwoNodes(), Clock()
    controller = controller_of(
        resolved(tmp_path, gate_l1=1e-3, resources={"max_attempts": 3}), launcher, clock
    )
    view = drive(controller)
    assert view.status is Status.DONE
    (line,) = view.avoided
    assert line.startswith("node 10.0.0.4 is avoided: ")
    assert launcher.avoids == {"a1"}
    clock.now = FORGET_S + 1
    controller.step()
    assert launcher.avoids == frozenset()


def test_the_last_node_is_not_avoided(tmp_path: Path) -> None:
    launcher = TwoNodes()
    controller = controller_of(resolved(tmp_path, gate_l1=1e-3), launcher)
    controller.step()
    for key in ("rank-1", "rank-2"):
        for node in (BAD, GOOD):
            controller._state.avoidance.see(f"{key}-{node.id}", failure(node), now=0)
    assert len(controller._avoided()) == 2
    controller.step()
    assert launcher.avoids == frozenset(), "all is forgiven"
    assert [kind for kind in launcher.started_kinds() if kind is StageKind.RANKING]
