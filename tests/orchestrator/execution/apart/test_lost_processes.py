"""The failure of a stage whose process is gone: by how it ended and what it had printed."""

import signal
from pathlib import Path

import pytest

from orchestrator.execution.apart.lost_processes import died, ended_failure
from orchestrator.execution.stage_task import StageTask
from orchestrator.processes.request import Ended, Raised
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.failures import FailureKind, Node, RankFailure
from orchestrator.store.rank_reports import RankReport
from orchestrator.store.store import Store

NODE = Node("a1", "10.0.0.4")
KILLED = Ended(False, status=-signal.SIGKILL)


@pytest.mark.parametrize(
    ("ended", "kind", "message"),
    [
        (KILLED, FailureKind.LOST, "its process was ended by SIGKILL"),
        (Ended(False, status=-11), FailureKind.LOST, "its process was ended by SIGSEGV"),
        (Ended(False, status=-15), FailureKind.PREEMPTED, "its process was ended by SIGTERM"),
        (Ended(False, status=3), FailureKind.LOST, "its process ended by itself with exit code 3"),
        (Ended(False), FailureKind.LOST, "its process is gone, and nobody could say how it ended"),
        (
            Ended(False, status=-9, out_of_memory=True),
            FailureKind.OUT_OF_MEMORY,
            "its process was ended by the kernel: there was no memory left",
        ),
    ],
)
def test_how_a_process_ended_tells_the_class_of_its_failure(
    ended: Ended, kind: FailureKind, message: str
) -> None:
    failure = died(ended, "step 7\n")
    assert (failure.kind, failure.message, failure.tail) == (kind, message, "step 7\n")


def test_a_process_that_aborts_has_printed_why() -> None:
    tail = "terminate called after throwing an instance of 'std::bad_alloc'"
    assert died(Ended(False, status=-6), tail).kind is FailureKind.OUT_OF_MEMORY


@pytest.fixture
def task(tmp_path: Path) -> StageTask:
    return StageTask(StageSpec(StageKind.PRUNE, {}), str(tmp_path))


def report(task: StageTask) -> RankReport:
    return RankReport(Store(task.store), task.spec.key, task.attempt)


def test_the_failure_has_the_output_and_the_node_and_is_recorded(task: StageTask) -> None:
    path = report(task).output_path()
    assert path is not None
    path.write_text("step 7\n")
    failure = ended_failure(task, KILLED, NODE)
    assert (failure.details, failure.node) == ("step 7\n", NODE)
    assert Store(task.store).failures.history(task.spec.key) == (failure,)
    assert not path.exists()


def test_what_the_process_left_word_of_comes_first(task: StageTask) -> None:
    report(task).write(RankFailure((0,), "HungError", "no step for 3 s", "", FailureKind.HUNG))
    failure = ended_failure(task, Ended(False, status=1), NODE)
    assert (failure.error, failure.kind) == ("HungError", FailureKind.HUNG)


def test_an_error_from_outside_the_stage_is_told_as_it_was_raised(task: StageTask) -> None:
    raised = Raised("ModuleNotFoundError", "No module named 'trsp'", "Traceback ...")
    failure = ended_failure(task, Ended(False, raised=raised), NODE)
    assert failure.error == "ModuleNotFoundError"
    assert (failure.message, failure.details) == ("No module named 'trsp'", "Traceback ...")
