"""Failed attempts, kept in a store."""

from orchestrator.store.failures import Failure, FailureKind, RankFailure
from orchestrator.store.store import Store
from tests.orchestrator.store.sample_stage import KEY, stage_folder


def test_failures_are_kept_oldest_first_with_their_logs(store: Store) -> None:
    ranks = (
        RankFailure((1,), "MemoryError", "12 GB", "its last words", FailureKind.OUT_OF_MEMORY),
    )
    first = Failure(
        "MemoryError", "12 GB", FailureKind.OUT_OF_MEMORY, "Traceback", 1.5e9, ranks, {"ranks": 2}
    )
    store.failures.record(KEY, first, "the end of the log")
    store.failures.record(KEY, Failure("InvalidInputError", "no such file"))
    assert store.failures.history(KEY) == (first, Failure("InvalidInputError", "no such file"))
    if store.is_local:
        log, _ = sorted(stage_folder(store).glob("log-*.txt"))
        assert log.read_text() == (
            "out of memory: MemoryError: 12 GB (rank 1)\nlayout: ranks=2\n"
            "--- rank 1: MemoryError: 12 GB\nits last words\n\nthe end of the log"
        )
