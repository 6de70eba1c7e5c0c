"""MLflow's server for people: what it is started on, and where."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.tracking.pages import server
from orchestrator.tracking.pages.find import grid_page
from orchestrator.tracking.pages.server import require_database, served
from orchestrator.views.grid_view import GridView
from tests.mlflow_server import free_port, is_healthy
from tests.orchestrator.tracking.reading import EXPERIMENT
from tests.tiny_grid import tiny_grid
from trsp.errors import InvalidInputError, TrackingError


def test_a_database_that_is_not_there_yet_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="`trsp run FILE` makes it as it starts"):
        require_database(f"sqlite:///{tmp_path}/mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()


def test_what_is_no_database_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidInputError, match=r"known are sqlite://, postgresql://"):
        require_database("mlruns")


def test_a_refusal_shows_no_password() -> None:
    with pytest.raises(InvalidInputError) as refused:
        require_database("oracle://me:s3cret@host/db")
    assert "s3cret" not in str(refused.value)


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
        with pytest.raises(InvalidInputError, match=f"port {port} .* is taken"):
            server._port(port)


def test_where_the_usual_port_is_taken_any_other_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = int(listener.getsockname()[1])
        monkeypatch.setattr(server, "DEFAULT_UI_URL", f"http://127.0.0.1:{taken}")
        assert server._port(None) not in (taken, 0)


def test_a_server_that_does_not_come_up_says_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "print('out-of-date database: sqlite://me:s3cret@x'); raise SystemExit(1)"
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{words}"\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(TrackingError) as failed, served("sqlite:///x.db", None):
        pass
    assert "out-of-date database" in str(failed.value)
    assert "s3cret" not in str(failed.value)


@pytest.mark.slow
def test_a_server_is_there_while_somebody_looks_and_ends_with_the_command(
    finished: tuple[str, GridView], tmp_path: Path
) -> None:
    """``trsp ui`` on a real database: its link is the grid's leaderboard."""
    uri, view = finished
    tracking = {"uri": uri, "experiment": EXPERIMENT}
    grid = tiny_grid(tmp_path, Path("/m"), Path("/t.txt"), name=view.name, tracking=tracking)
    command = [sys.executable, "-m", "orchestrator", "ui", str(grid), "--no-open"]
    command += ["--port", str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        link = process.stdout.readline().strip()
        assert is_healthy(link.partition("/#")[0])
        assert link == grid_page(uri, EXPERIMENT, view.name, link.partition("/#")[0])
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    assert not is_healthy(link.partition("/#")[0])
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.yaml"}, "it leaves nothing behind"
