"""The records of failures: what they say in words, and their way through JSON."""

import json
from dataclasses import asdict

import pytest
from pydantic import TypeAdapter

from orchestrator.store.failures import Failure, FailureKind, RankFailure

OUT_OF_MEMORY = RankFailure((0,), "MemoryError", "12 GB", kind=FailureKind.OUT_OF_MEMORY)
CLOSED = RankFailure((1,), "RuntimeError", "Connection closed by peer", kind=FailureKind.LOST)


def test_a_record_survives_the_store() -> None:
    failure = Failure(
        "MemoryError",
        "12 GB",
        FailureKind.OUT_OF_MEMORY,
        ranks=(OUT_OF_MEMORY, CLOSED),
        layout={"ranks": 2},
    )
    assert TypeAdapter(Failure).validate_python(json.loads(json.dumps(asdict(failure)))) == failure


@pytest.mark.parametrize(
    ("ranks", "words"),
    [((1,), "rank 1"), ((7, 0, 2, 3, 4), "ranks 0, 2-4, 7"), ((0, 1), "ranks 0-1")],
)
def test_ranks_in_words(ranks: tuple[int, ...], words: str) -> None:
    assert RankFailure(ranks, "RuntimeError", "boom").who == words


def test_a_failure_without_a_message_is_known_by_its_name() -> None:
    assert Failure("AssertionError", " ").line == "AssertionError: AssertionError"
