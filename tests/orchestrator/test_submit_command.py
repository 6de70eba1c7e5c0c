"""``trsp submit``: what it says and how it ends, on a cluster that is none."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator import interrupts
from orchestrator.commands.running import submit
from orchestrator.ray_backend.submission import follow, package, ray_cluster
from orchestrator.ray_backend.submission.jobs import JobState
from orchestrator.ray_backend.submission.versions import Versions
from tests.orchestrator.ray_backend.submission.fake_cluster import FakeCluster
from tests.orchestrator.test_cli import call
from tests.tiny_grid import tiny_grid

HERE = Versions("2.60.0", "3.11.2")


class VersionedCluster(FakeCluster):
    there = HERE

    def versions(self) -> Versions:
        return self.there


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tiny_grid(tmp_path, Path("/models/m"), Path("/texts/wiki.jsonl"))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> VersionedCluster:
    """A cluster on which one job runs and ends well; its log is one line."""
    made = VersionedCluster(logs=[["1 of 1 cells done\n"]])
    monkeypatch.setattr(ray_cluster, "connect", lambda *_: made)
    monkeypatch.setattr(ray_cluster, "here", lambda: HERE)
    monkeypatch.setattr(follow, "AGAIN_S", 0.0)
    monkeypatch.setattr(package, "PACKAGES", ())  # to copy all code takes a while
    return made


def test_the_log_is_on_stdout_and_how_to_follow_and_stop_on_stderr(
    file: Path, cluster: VersionedCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("submit", file) == 0
    (job,) = cluster.jobs.values()
    out, err = capsys.readouterr()
    assert out == "1 of 1 cells done\n"
    assert f"submitted to http://head:8265 as job {job.id}" in err
    assert f"ray job logs --follow --address http://head:8265 {job.id}" in err
    assert f"ray job stop --address http://head:8265 {job.id}" in err


def test_without_waiting_the_id_is_all_that_stdout_has(
    file: Path, cluster: VersionedCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("submit", file, "--no-wait") == 0
    (job,) = cluster.jobs.values()
    assert capsys.readouterr().out == f"{job.id}\n"
    assert cluster.readings == 0


def test_no_value_of_a_variable_is_printed(
    file: Path,
    cluster: VersionedCluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", "s3cret")
    assert call("submit", file, "--env", "HF_TOKEN") == 0
    (job,) = cluster.jobs.values()
    assert job.variables["HF_TOKEN"] == "s3cret"
    assert "s3cret" not in "".join(capsys.readouterr())


def test_a_second_submission_follows_the_first(
    file: Path, cluster: VersionedCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    call("submit", file)
    (job,) = cluster.jobs.values()
    assert call("submit", file) == 0
    assert f"this grid runs there already, as job {job.id}" in capsys.readouterr().err


def test_options_after_two_dashes_are_those_of_run(file: Path, cluster: VersionedCluster) -> None:
    call("submit", file, "--no-wait", "--", "--address", "auto")
    (job,) = cluster.jobs.values()
    assert job.entrypoint == "python -m orchestrator run tiny.yaml --address auto"


def test_the_doctor_is_sent_in_place_of_the_run(file: Path, cluster: VersionedCluster) -> None:
    call("submit", file, "--no-wait", "--doctor")
    (job,) = cluster.jobs.values()
    assert job.entrypoint == "python -m orchestrator doctor tiny.yaml"


def test_a_slip_in_the_file_is_told_before_any_cluster_is_asked(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(ray_cluster, "connect")
    file.write_text(file.read_text() + "selector: gates\n")
    assert call("submit", file) == 2
    assert "did you mean 'selectors'?" in capsys.readouterr().err


def test_a_cluster_that_cannot_run_this_project_gets_no_job(
    file: Path, cluster: VersionedCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.there = Versions("2.9.0", "3.9.1")
    assert call("submit", file) == 2
    assert "runs Ray 2.9.0" in capsys.readouterr().err
    assert not cluster.jobs


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        (JobState(True, 1), 1, ""),
        (JobState(True, 143), 143, "submitted again, it goes on where it was"),
        (JobState(True, 127), 127, "the cluster finds no `python`"),
        (JobState(True, None, "no room"), 1, "the job failed before it began: no room"),
    ],
)
def test_the_exit_code_is_the_jobs(
    file: Path,
    cluster: VersionedCluster,
    capsys: pytest.CaptureFixture[str],
    state: JobState,
    code: int,
    said: str,
) -> None:
    cluster.states = [state]
    assert call("submit", file) == code
    assert said in capsys.readouterr().err


# --- Ctrl-C -------------------------------------------------------------------


@pytest.fixture
def interrupted(
    cluster: VersionedCluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[VersionedCluster]:
    """Ctrl-C comes with the first piece of the log, and with no other; any other ends ``trsp``."""
    monkeypatch.setattr(interrupts, "end_now", lambda *_: sys.exit("ended at once"))
    before = signal.getsignal(signal.SIGINT)
    interrupts.end_at_interrupts()
    pieces: list[str] = []

    def write(piece: str) -> None:
        pieces.append(piece)
        sys.stdout.write(piece)
        if len(pieces) == 1:
            signal.raise_signal(signal.SIGINT)

    cluster.logs = [["one\n", "two\n"]]
    monkeypatch.setattr(submit, "_write", write)
    yield cluster
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sit at a terminal, and give this answer."""

    def answer(text: str) -> None:
        monkeypatch.setattr(submit, "_at_terminal", lambda: True)
        monkeypatch.setattr(submit.typer, "prompt", lambda *_, **__: text)

    return answer


def test_ctrl_c_without_a_terminal_detaches(
    file: Path, interrupted: VersionedCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("submit", file) == 130
    assert "detached: the job goes on" in capsys.readouterr().err
    assert not interrupted.stopped


def test_ctrl_c_may_detach(
    file: Path, interrupted: VersionedCluster, answered: Callable[[str], None]
) -> None:
    answered("detach")
    assert call("submit", file) == 0
    assert not interrupted.stopped


def test_ctrl_c_may_stop_the_job_whose_last_words_are_written(
    file: Path,
    interrupted: VersionedCluster,
    answered: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    answered("s")
    assert call("submit", file) == 130
    (job,) = interrupted.jobs.values()
    assert interrupted.stopped == [job.id]
    assert capsys.readouterr().out == "one\ntwo\n"


def test_ctrl_c_may_go_on_following(
    file: Path,
    interrupted: VersionedCluster,
    answered: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    answered("c")
    assert call("submit", file) == 0
    assert capsys.readouterr().out == "one\ntwo\n"
