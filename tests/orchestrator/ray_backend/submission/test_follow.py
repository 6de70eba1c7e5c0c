"""A job's log, followed to its end whatever becomes of the connection."""

import pytest

from orchestrator.ray_backend.submission import follow
from orchestrator.ray_backend.submission.follow import Follower
from orchestrator.ray_backend.submission.jobs import JobState
from tests.orchestrator.ray_backend.submission.fake_cluster import LOST, SILENCE, FakeCluster
from trsp.errors import UnreachableError

RUNS, DONE = JobState(False), JobState(True, 0)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "AGAIN_S", 0.0)


def followed(cluster: FakeCluster) -> tuple[str, list[str], JobState]:
    """Return the log as it was written, the lines of ours, and how the job ended."""
    written: list[str] = []
    said: list[str] = []
    state = Follower(cluster, "job", written.append, said.append).follow()
    return "".join(written), said, state


def test_a_log_is_written_to_its_end_and_the_exit_code_is_the_jobs() -> None:
    ended = JobState(True, 1, "failed")
    cluster = FakeCluster(logs=[["one\n", "two\n"]], states=[RUNS, ended])
    assert followed(cluster) == ("one\ntwo\n", [], ended)


def test_after_a_lost_connection_the_log_goes_on_where_it_stopped() -> None:
    logs = [["one\ntw", LOST], ["one\n", "two\nthree\n"]]
    log, said, _ = followed(FakeCluster(logs=logs, states=[RUNS, RUNS, DONE]))
    assert log == "one\ntwo\nthree\n"
    assert [line.split(" (")[0] for line in said] == [
        "lost the connection to http://head:8265",
        "connected again",
    ]


def test_a_job_that_ends_while_nobody_listens_still_has_its_whole_log_written() -> None:
    logs = [["one\n", LOST], ["one\n", "two\n"]]
    log, _, state = followed(FakeCluster(logs=logs, states=[RUNS, None, DONE]))
    assert (log, state) == ("one\ntwo\n", DONE)


def test_a_log_that_only_stopped_coming_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "SILENT_S", 0.02)
    cluster = FakeCluster(logs=[["one\n", SILENCE], ["one\n", "two\n"]], states=[DONE])
    log, said, _ = followed(cluster)
    assert (log, said, cluster.readings) == ("one\ntwo\n", [], 2)


def test_a_log_that_ends_before_its_job_is_read_on() -> None:
    cluster = FakeCluster(logs=[["one\n"], ["one\n", "two\n"]], states=[RUNS, RUNS, RUNS, DONE])
    assert followed(cluster)[0] == "one\ntwo\n"


def test_a_cluster_that_stays_away_is_given_up_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "GIVE_UP_S", 0.0)
    with pytest.raises(UnreachableError, match=r"no answer from .* the same command follows it"):
        followed(FakeCluster(states=[None]))


def test_an_interrupted_follower_goes_on_without_writing_anything_twice() -> None:
    written: list[str] = []

    def write(piece: str) -> None:
        written.append(piece)
        if len(written) == 1:
            raise KeyboardInterrupt

    cluster = FakeCluster(logs=[["one\n", "two\n"]])
    follower = Follower(cluster, "job", write, print)
    with pytest.raises(KeyboardInterrupt):
        follower.follow()
    follower.follow()
    assert "".join(written) == "one\ntwo\n"
