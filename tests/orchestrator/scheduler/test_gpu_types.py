"""Decisions on a cluster with two types of GPU, and a controller on it."""

from pathlib import Path

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.policy import Running, Start
from orchestrator.stages.stage_specs import StageKind
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import FakeLauncher, controller_of, drive, resolved
from tests.orchestrator.scheduler.test_policy import TRANSFER, decided, spec

GB = 10**9

MIXED = Capacity.of([Capacity(8, 2, gpu_type="H100"), Capacity(8, 1, gpu_type="A10G")])
ON_H100, ON_A10G = (Layout(gpus=1, gpu_type=name) for name in ("H100", "A10G"))
SCORES = [spec(StageKind.EVALUATE, str(number)) for number in range(4)]


def launcher_of(*nodes: Capacity) -> FakeLauncher:
    launcher = FakeLauncher()
    launcher.cluster = Capacity.of(nodes)
    launcher.measures_alone = False
    return launcher


def test_stages_run_on_both_types_at_once_and_pruning_on_none(tmp_path: Path) -> None:
    launcher = launcher_of(
        Capacity(8, 1, gpu_memory_bytes=80 * GB, gpu_type="H100"),
        Capacity(8, 1, gpu_memory_bytes=24 * GB, gpu_type="A10G"),
    )
    launcher.holds = True
    controller = controller_of(resolved(tmp_path), launcher)
    controller.step()
    assert sorted(task.layout.gpu_type for task in launcher.started) == ["A10G", "H100"]
    launcher.holds = False
    assert drive(controller).status is Status.DONE
    assert {task.layout.gpus for task in launcher.tasks(StageKind.PRUNE)} == {0}
    assert all(
        task.layout.gpus == 1 for task in launcher.started if task.spec.kind is not StageKind.PRUNE
    )


def placed(running: list[Layout], best: Layout = ON_A10G, other: Layout = ON_H100) -> list[str]:
    """Return the types on which the first of four equal stages start, and why the others wait."""
    decisions = decided(
        SCORES,
        capacity=MIXED,
        layouts={each.key: best for each in SCORES},
        alternatives={each.key: (other,) for each in SCORES},
        running={str(i): Running(StageKind.DENSE, each) for i, each in enumerate(running)},
    )
    return [
        each.layout.gpu_type if isinstance(each, Start) else str(getattr(each, "reason", ""))
        for each in decisions
    ]


def test_a_stage_does_not_wait_for_one_type_of_gpu_while_another_is_free() -> None:
    assert placed([]) == ["A10G", "H100", "H100", "waits for 1 GPU (A10G), 1 CPU"]


def test_the_best_type_is_taken_where_it_is_free() -> None:
    assert placed([ON_H100])[:2] == ["A10G", "H100"]
    assert placed([ON_A10G])[:2] == ["H100", "H100"]


def test_a_stage_that_fits_on_its_other_type_alone_is_not_given_up() -> None:
    """Nodes of the best type were lost, and the largest cluster was this one."""
    assert placed([], best=Layout(gpus=1, gpu_type="B200"))[0] == "H100"


def test_a_reservation_of_one_type_leaves_the_others_to_those_behind() -> None:
    gang = Layout(ranks=2, gpus=1, gpu_type="H100")
    needs = [TRANSFER, *(spec(StageKind.TRANSFER, str(i)) for i in range(2))]
    decisions = decided(
        needs,
        capacity=MIXED,
        layouts={TRANSFER.key: gang, needs[1].key: ON_H100, needs[2].key: ON_A10G},
        running={"x": Running(StageKind.DENSE, ON_H100)},
    )
    assert [isinstance(each, Start) for each in decisions] == [False, False, True]
