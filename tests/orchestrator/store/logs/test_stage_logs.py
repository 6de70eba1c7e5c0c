"""Logs of stages: kept in the store by the rank that prints, read from any machine."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest

from orchestrator.coordination.process import ProcessIdentity
from orchestrator.store.failures import Failure
from orchestrator.store.files import StoreFolder
from orchestrator.store.logs import rank_log
from orchestrator.store.logs.following import follow
from orchestrator.store.logs.rank_log import LOG_BYTES, RankLog, end_of
from orchestrator.store.logs.stage_logs import (
    MOST_ATTEMPTS,
    attempt_logs,
    read_log,
    remove_old_logs,
)
from orchestrator.store.rank_reports import RankReport
from orchestrator.store.store import Store
from tests.orchestrator.requests import counted_requests
from tests.s3_server import new_bucket, options

KEY = "transfer-1"


@pytest.fixture
def s3(s3_server: str) -> Store:
    port = int(s3_server.rpartition(":")[2])
    return Store(f"s3://{new_bucket(port)}/a/prefix?{options(port)}")


@pytest.fixture(autouse=True)
def _each_a_millisecond_later(monkeypatch: pytest.MonkeyPatch) -> None:
    times = itertools.count(10**18, 10**6)
    monkeypatch.setattr(rank_log.time, "time_ns", lambda: next(times))


def keep(store: Store, text: str, attempt: str = "a", rank: int = 0) -> None:
    """Let a rank print this, and end."""
    with (
        NamedTemporaryFile() as output,
        RankLog(store.stages.folder(KEY, "logs"), attempt, rank).kept(Path(output.name)),
    ):
        Path(output.name).write_text(text, encoding="utf-8")


def test_what_a_rank_printed_is_kept(store: Store) -> None:
    keep(store, "step 1\n")
    (log,) = attempt_logs(store, KEY)
    assert (log.attempt, log.runs) == ("a", False)
    assert read_log(store, KEY, log.ranks[0]) == "step 1\n"


def test_of_a_bar_of_progress_the_last_state_is_read(store: Store) -> None:
    keep(store, "before\n 0%\r 50%\r100%\nafter\r\n")
    (log,) = attempt_logs(store, KEY)
    assert read_log(store, KEY, log.ranks[0]) == "before\n100%\nafter\r\n"


def test_each_rank_has_a_log(store: Store) -> None:
    for rank in (0, 1):
        keep(store, f"rank {rank}", rank=rank)
    (log,) = attempt_logs(store, KEY)
    assert [read_log(store, KEY, log.ranks[rank]) for rank in (0, 1)] == ["rank 0", "rank 1"]


def test_attempts_come_in_the_order_in_which_they_began(store: Store) -> None:
    for attempt in ("z", "a", "m"):
        keep(store, "text", attempt)
    assert [log.attempt for log in attempt_logs(store, KEY)] == ["z", "a", "m"]


def test_a_rank_that_printed_nothing_leaves_no_log(store: Store) -> None:
    keep(store, "")
    assert attempt_logs(store, KEY) == ()


def test_no_credentials_are_kept(store: Store) -> None:
    keep(store, "no answer of s3://KEY:SECRET@bucket\n")
    (log,) = attempt_logs(store, KEY)
    kept = store.files.read(f"stages/transfer/{KEY}/{log.ranks[0]}")
    assert kept is not None
    assert b"bucket" in kept
    assert b"SECRET" not in kept


def test_of_a_long_log_the_end_is_kept_from_a_whole_line_on(tmp_path: Path) -> None:
    file = tmp_path / "output.txt"
    file.write_text("x" * LOG_BYTES + "\nlast\n")
    assert end_of(file) == "last\n"


def test_a_store_that_is_full_goes_without_a_log(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StoreFolder, "write", full)
    keep(store, "text")
    assert attempt_logs(store, KEY) == ()


def test_on_an_object_store_a_log_is_written_while_the_rank_computes(
    s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_log, "WRITE_EVERY_S", 0.01)
    output = tmp_path / "output.txt"
    with RankLog(s3.stages.folder(KEY, "logs"), "a").kept(output):
        output.write_text("step 1\n", encoding="utf-8")
        while not (logs := attempt_logs(s3, KEY)):
            pass
        assert read_log(s3, KEY, logs[0].ranks[0]) == "step 1\n"


def test_a_log_is_written_again_only_where_more_was_printed(
    s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_log, "WRITE_EVERY_S", 0.01)
    requests = counted_requests(monkeypatch)
    output = tmp_path / "output.txt"
    with RankLog(s3.stages.folder(KEY, "logs"), "a").kept(output):
        output.write_text("step 1\n", encoding="utf-8")
        time.sleep(0.3)
    assert sum(requests.values()) == 1


def test_how_far_a_stage_is_is_printed_now_and_then_and_at_its_end(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    seconds = iter([0.0, 1.0, 11.0, 11.0, 12.0, 12.0])
    monkeypatch.setattr(rank_log.time, "monotonic", lambda: next(seconds))
    log = RankLog(store.stages.folder(KEY, "logs"), "a")
    for step in (1, 2, 3):
        log.print_progress(f"step {step} of 3")
    log.print_last_progress()
    log.print_last_progress()
    said = [line.partition(" ")[2] for line in capfd.readouterr().out.splitlines()]
    assert said == ["step 2 of 3", "step 3 of 3"]


def test_of_many_attempts_the_last_are_kept(store: Store) -> None:
    for number in range(MOST_ATTEMPTS + 2):
        keep(store, "text", f"a{number}")
    remove_old_logs(store, KEY)
    assert [log.attempt for log in attempt_logs(store, KEY)] == [
        f"a{number}" for number in range(2, MOST_ATTEMPTS + 2)
    ]


# --- attempts that did not come to write one -----------------------------------


def test_a_rank_that_computes_is_read_where_it_prints(local: Store) -> None:
    path = RankReport(local, KEY, "a", 1).output_path()
    assert path is not None
    path.write_text("step 1\n")
    (log,) = attempt_logs(local, KEY)
    assert log.runs
    assert read_log(local, KEY, log.ranks[1]) == "step 1\n"


def test_an_attempt_that_was_killed_is_known_by_its_failure(store: Store) -> None:
    store.failures.record(KEY, Failure("Killed", "by SIGKILL"), "the last line")
    (log,) = attempt_logs(store, KEY)
    assert "the last line" in read_log(store, KEY, log.ranks[0])


# --- following ------------------------------------------------------------------


class Driver:
    """A driver that holds the stage, and lets it print a line at each look of who follows."""

    def __init__(self, store: Store, lines: Iterator[str]) -> None:
        self._store, self._lines = store, lines
        self._path = RankReport(store, KEY, "a").output_path()
        store.claims.drivers.say("me", ProcessIdentity.here(), {KEY})

    def wait(self, _: float) -> None:
        assert self._path is not None
        if (line := next(self._lines, None)) is None:
            if self._path.exists():
                keep(self._store, self._path.read_text())
            RankReport(self._store, KEY, "a").remove()
            self._store.claims.drivers.leave("me")
        else:
            with self._path.open("a") as file:
                file.write(line)


def test_a_log_is_followed_to_its_end(local: Store) -> None:
    lines = [f"step {step}\n" for step in range(15)]
    driver = Driver(local, iter(lines))
    assert "".join(follow(local, KEY, 0, driver.wait)) == "".join(lines)


def test_a_stage_that_nobody_works_on_is_printed_once(store: Store) -> None:
    keep(store, "all of it\n")
    assert list(follow(store, KEY, 0, lambda _: pytest.fail("it waits"))) == ["all of it\n"]
