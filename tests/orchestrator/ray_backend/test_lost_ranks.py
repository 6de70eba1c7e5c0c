"""What is made of Ray's words about a process that is gone. The texts are Ray 2.60's own."""

import pytest

from orchestrator.ray_backend.lost_ranks import lost_rank_failure
from orchestrator.store.failures import FailureKind

KILLED = """The actor died unexpectedly before finishing this task.
\tclass_name: RayTrainWorker
\tactor_id: 3e953b16b55701a08d1755ba01000000
\tpid: 17685
The actor is dead because its worker process has died. \
Worker exit type: SYSTEM_ERROR \
Worker exit detail: Worker unexpectedly exits with a connection error code 2. End of file. \
Some common causes include: (1) the process was killed by the OOM killer due to high memory usage, \
(2) ray stop --force was called, or (3) the worker crashed unexpectedly due to SIGSEGV."""
TOLD = """The actor is dead because its worker process has died. \
Worker exit type: SYSTEM_ERROR \
Worker exit detail: Worker exits unexpectedly by a signal. \
SystemExit is raised (sys.exit is called). Exit code: 1. The process receives a SIGTERM."""
NO_ROOM = """The actor is dead because its worker process has died. \
Worker exit type: NODE_OUT_OF_MEMORY \
Worker exit detail: Task was killed due to the node running low on memory."""
NODE_GONE = """The actor died unexpectedly before finishing this task.
\tclass_name: RayTrainWorker
The actor died because its node has died. Node Id: 75f29e2b6605a13a10ed19f53926"""
SILENT = """A worker health check has been hanging.
Set the RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S environment variable to increase the timeout \
(current value: 34.0 seconds)."""


class ActorDiedError(Exception):
    pass


class WorkerHealthCheckFailedError(Exception):
    def __init__(self, failure: Exception) -> None:
        super().__init__("A worker health check failed.")
        self.health_check_failure = failure


@pytest.mark.parametrize(
    ("text", "tail", "kind"),
    [
        (KILLED, "", FailureKind.LOST),
        (
            KILLED,
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
            FailureKind.OUT_OF_MEMORY,
        ),
        (TOLD, "", FailureKind.PREEMPTED),
        (NODE_GONE, "", FailureKind.NODE_LOST),
        (NO_ROOM, "", FailureKind.OUT_OF_MEMORY),
        (SILENT, "", FailureKind.HUNG),
    ],
)
def test_the_class_of_an_end(text: str, tail: str, kind: FailureKind) -> None:
    assert (
        lost_rank_failure(1, WorkerHealthCheckFailedError(ActorDiedError(text)), tail).kind is kind
    )
    assert lost_rank_failure(1, ActorDiedError(text), tail).kind is kind


def test_one_line_is_kept_of_many() -> None:
    failure = lost_rank_failure(1, WorkerHealthCheckFailedError(ActorDiedError(KILLED)), "the end")
    assert failure.error == "ActorDiedError"
    assert (
        failure.message == "Worker unexpectedly exits with a connection error code 2. End of file."
    )
    assert (failure.ranks, failure.tail) == ((1,), "the end")


def test_an_error_without_words_has_its_name() -> None:
    assert lost_rank_failure(0, ActorDiedError(), "").message == "ActorDiedError"
