"""From the errors of many ranks to one failure: its cause first, those that are alike together."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.store.diagnosis import CAUSES, classify_words, failure_of_ranks
from orchestrator.store.failures import FailureKind, RankFailure

K = FailureKind


def rank_failure(rank: int, error: str, message: str, tail: str = "") -> RankFailure:
    return RankFailure((rank,), error, message, tail, classify_words(error, message))


CLOSED = "[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:{}"


def test_every_class_has_its_place_among_causes() -> None:
    assert sorted(CAUSES) == sorted(FailureKind)


def test_ranks_that_said_the_same_stand_together_and_the_cause_stands_first() -> None:
    failure = failure_of_ranks(
        [
            *(
                rank_failure(rank, "RuntimeError", CLOSED.format(4000 + rank))
                for rank in (5, 0, 1, 4, 3)
            ),
            rank_failure(
                2, "OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB", "step 17\n"
            ),
        ],
        layout={"ranks": 6},
        when=1.0,
    )
    assert (failure.kind, failure.error, failure.when) == (K.OUT_OF_MEMORY, "OutOfMemoryError", 1.0)
    assert [group.who for group in failure.ranks] == ["rank 2", "ranks 0-1, 3-5"]
    assert (
        failure.line == "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB (rank 2)"
    )
    assert failure.text.splitlines() == [
        f"out of memory: {failure.line}",
        "layout: ranks=6",
        "--- rank 2: OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "step 17",
        f"--- ranks 0-1, 3-5: RuntimeError: {CLOSED.format(4000)}",
    ]


@pytest.mark.parametrize(
    ("cause", "consequence"),
    [
        (
            rank_failure(1, "TrainingDivergedError", "loss is nan"),
            rank_failure(0, "RuntimeError", CLOSED.format(1)),
        ),
        (
            rank_failure(1, "OSError", "No space left on device"),
            rank_failure(0, "RuntimeError", CLOSED.format(1)),
        ),
        (
            rank_failure(1, "InvalidInputError", "no such file"),
            rank_failure(0, "RuntimeError", "Timed out waiting 1000ms for recv"),
        ),
        (
            rank_failure(1, "KeyError", "'layers'"),
            rank_failure(0, "RuntimeError", "Timed out waiting 1000ms for recv"),
        ),
        (
            rank_failure(1, "HungError", "no step for 60 s"),
            rank_failure(0, "RuntimeError", CLOSED.format(1)),
        ),
        (
            rank_failure(1, "WorkerCrashedError", "ended by SIGKILL"),
            rank_failure(0, "RuntimeError", CLOSED.format(1)),
        ),
    ],
    ids=lambda value: value.error,
)
def test_a_broken_connection_is_a_consequence(cause: RankFailure, consequence: RankFailure) -> None:
    failure = failure_of_ranks([consequence, cause])
    assert (failure.error, failure.kind) == (cause.error, cause.kind)
    assert failure.ranks == (cause, consequence)


def test_connections_that_a_killed_rank_leaves_are_known_for_what_they_are(tmp_path: Path) -> None:
    """Real ones: one of two gloo ranks is killed in the middle."""
    program = (
        "import os, signal, sys, torch; from torch import distributed\n"
        "rank = int(sys.argv[1])\n"
        "distributed.init_process_group(\n"
        "    'gloo', init_method=f'file://{sys.argv[2]}', rank=rank, world_size=2)\n"
        "distributed.all_reduce(torch.ones(1))\n"
        "if rank: os.kill(os.getpid(), 9)\n"
        "try: distributed.all_reduce(torch.ones(1))\n"
        "except RuntimeError as error: print(type(error).__name__, str(error), sep='|')\n"
    )
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(rank), str(tmp_path / "met")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told, _ = ranks[0].communicate(timeout=60)
    assert ranks[1].wait(timeout=60) == -signal.SIGKILL
    error, _, message = told.partition("|")
    killed = RankFailure((1,), "Killed", "ended by SIGKILL", kind=K.LOST)
    failure = failure_of_ranks(
        [RankFailure((0,), error, message, kind=classify_words(error, message)), killed]
    )
    assert failure.kind is K.LOST
    assert failure.error == "Killed", told
