"""Failed attempts, kept in a store."""

import pytest

from orchestrator.store.failures import Failure, FailureKind, RankFailure
from orchestrator.store.rank_reports import RankReport
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


@pytest.mark.parametrize("content", ["[]", '{"error": 3}', "{", "null"])
def test_a_failure_that_cannot_be_read_hides_no_other(local: Store, content: str) -> None:
    local.failures.record(KEY, Failure("KeyError", "'x'"))
    (stage_folder(local) / "failures" / "9.json").write_text(content)
    assert [each.error for each in local.failures.history(KEY)] == ["KeyError"]


@pytest.mark.parametrize("content", ["[]", '{"ranks": 3}', "{"])
def test_a_report_of_a_rank_that_cannot_be_read_is_none(local: Store, content: str) -> None:
    report = RankReport(local, KEY, "a")
    folder = stage_folder(local) / "ranks" / "a-00000"
    folder.mkdir(parents=True)
    (folder / "failure.json").write_text(content)
    assert report.failure() is None
