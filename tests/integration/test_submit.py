"""``trsp submit`` on clusters as ``ray start --head`` makes them, with a token and without."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from jobs.local_ray import RayHead, local_ray
from orchestrator.ray_backend.submission.follow import Follower
from orchestrator.ray_backend.submission.ray_cluster import connect
from orchestrator.views.grid_view import Status
from tests.forwarder import Forwarder
from tests.integration import drivers
from tests.integration.test_ray_job import ONE_CELL
from tests.rooms import ROOT
from tests.tiny_grid import tiny_grid

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SUBMIT_TIMEOUT_S = 200


def submit(
    file: Path, head: RayHead, home: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Submit a file as somebody whose home this is, from a folder that has nothing in it."""
    elsewhere = home / "elsewhere"
    elsewhere.mkdir(parents=True, exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [
            *(sys.executable, "-m", "orchestrator", "submit", str(file)),
            *("--address", head.address),
        ],
        cwd=elsewhere,
        env=inherited | {"HOME": str(home), "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=SUBMIT_TIMEOUT_S,
        check=False,
    )


def save_token(home: Path, token: str) -> None:
    """Save a token where ``ray get-auth-token --generate`` does."""
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text(token)


def test_a_file_from_anywhere_runs_on_a_cluster_whose_token_is_in_a_file(
    head: RayHead, tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    """The file is no executable, and neither it nor the user is in the repository."""
    token = head.environ["RAY_AUTH_TOKEN"]
    save_token(tmp_path, token)
    grid = tiny_grid(tmp_path / "files", tiny_llama, text_file, **ONE_CELL)
    ended = submit(grid, head, tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 of 1 cells done" in ended.stdout
    assert "as job tiny-" in ended.stderr
    assert token not in ended.stdout + ended.stderr
    (cell,) = drivers.view(grid).cells
    assert cell.status is Status.DONE


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "asks for a token, and none was found"),
        ({"RAY_AUTH_TOKEN": "f" * 64}, "does not take the token of RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_MODE": "token"}, "asks for a token, and none was found"),
    ],
)
def test_who_has_no_token_or_another_is_told_where_to_get_it(
    head: RayHead,
    tmp_path: Path,
    tiny_llama: Path,
    text_file: Path,
    variables: dict[str, str],
    said: str,
) -> None:
    ended = submit(tiny_grid(tmp_path, tiny_llama, text_file), head, tmp_path, **variables)
    assert ended.returncode == 2, ended.stderr
    assert said in ended.stderr
    assert "`ray get-auth-token` prints" in ended.stderr


def test_a_cluster_without_a_token_runs_a_file_with_the_text_beside_the_user(
    tmp_path: Path, temp_dir: Path, text_file: Path
) -> None:
    """A token that is there for another cluster is not in the way. The job's exit code is ours."""
    save_token(tmp_path, "f" * 64)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "own.jsonl").write_bytes(text_file.read_bytes())
    grid = tiny_grid(tmp_path / "files", tmp_path / "no-model", Path("own.jsonl"), **ONE_CELL)
    with local_ray(temp_dir, num_cpus=1, variables={"RAY_AUTH_MODE": "disabled"}) as head:
        ended = submit(grid, head, tmp_path)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert f"{tmp_path / 'no-model'}" in ended.stdout
    assert "own.jsonl" in ended.stderr
    assert "own.jsonl" not in ended.stdout, "only the model is missing"


@pytest.fixture
def cut(head: RayHead) -> Iterator[Forwarder]:
    """A way to the head that can be cut."""
    port = urlsplit(head.address).port
    assert port is not None
    forwarder = Forwarder(port)
    try:
        yield forwarder
    finally:
        forwarder.close()


def test_a_log_is_written_once_over_a_cut_connection(head: RayHead, cut: Forwarder) -> None:
    token = {"RAY_AUTH_TOKEN": head.environ["RAY_AUTH_TOKEN"]}
    cluster = connect(f"http://127.0.0.1:{cut.port}", token, Path("/nowhere"))
    job_id = cluster._client.submit_job(
        entrypoint="for i in 1 2 3 4 5 6; do echo line $i; sleep 0.7; done; exit 3"
    )
    written: list[str] = []
    said: list[str] = []

    def write(piece: str) -> None:
        written.append(piece)
        if not said and "line 1\n" in "".join(written):
            threading.Thread(target=cut_for_a_while).start()

    def cut_for_a_while() -> None:
        cut.refuse()
        time.sleep(1)
        cut.answer()

    state = Follower(cluster, job_id, write, said.append).follow()
    assert (state.over, state.exit_code) == (True, 3)
    lines = [line for line in "".join(written).splitlines() if line.startswith("line")]
    assert lines == [f"line {i}" for i in range(1, 7)]
    assert [line.split(" (")[0].split(" to ")[0] for line in said] == [
        "lost the connection",
        "connected again",
    ]
