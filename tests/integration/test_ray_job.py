"""A grid file submitted to a cluster: ``ray job submit --working-dir . -- grid.yaml`` runs the file itself."""

import importlib
import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.grid.schema import load_grid
from orchestrator.run import view_offline
from orchestrator.views.grid_view import Status
from tests.integration import drivers
from tests.tiny_grid import tiny_grid

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
SHEBANG = "#!/usr/bin/env -S python -m orchestrator\n"
ONE_CELL: dict[str, Any] = {
    "selectors": "reverse",
    "ratios": 0.2,
    "transfer": "none",
    "measurement": {"protocol": "none"},
}


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(ROOT / "jobs"))
    folder = Path("/tmp") / f"trsp-test-{uuid.uuid4().hex[:8]}"  # short: sockets live in it
    try:
        with importlib.import_module("local_ray").local_ray(folder, num_cpus=2) as started:
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def submit(head: Any, folder: Path, name: str, job_id: str) -> str:
    """What `ray job submit` prints of a job in ``folder``."""
    command = [
        str(Path(sys.executable).parent / "ray"),
        "job",
        "submit",
        "--address",
        head.address,
        "--submission-id",
        job_id,
    ]
    environment = {"env_vars": {"TRSP_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}}
    command += ["--runtime-env-json", json.dumps(environment), "--working-dir", ".", "--", name]
    ended = subprocess.run(
        command,
        cwd=folder,
        env=dict(head.environ),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    return ended.stdout + ended.stderr


def test_an_executable_grid_is_a_job(
    head: Any, tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    """To its end; the results lie where the file says and not in the upload; bad input is told and ends with code 2."""
    grid = tiny_grid(tmp_path, tiny_llama, text_file, **ONE_CELL)
    grid.write_text(SHEBANG + grid.read_text())
    grid.chmod(0o755)
    bad = tmp_path / "bad.yaml"
    bad.write_text(grid.read_text() + "selector: gates\n")
    bad.chmod(0o755)

    printed = submit(head, tmp_path, "./tiny.yaml", "good")
    job = head.job("good")
    assert (job["status"], job["driver_exit_code"]) == ("SUCCEEDED", 0), printed
    assert "1 of 1 cells done" in printed
    (cell,) = view_offline(load_grid(grid)).cells
    assert cell.status is Status.DONE
    assert cell.layers == (4,)  # the deepest but the last, of 6
    assert (Path(str(cell.checkpoint_uri)) / "model.safetensors").is_file()
    (run,) = drivers.runs(grid)["grid"]
    assert run.info.status == "FINISHED"
    assert "good" in run.data.tags.values(), "the run names the job that made it"

    printed = submit(head, tmp_path, "./bad.yaml", "bad")
    assert head.job("bad")["driver_exit_code"] == 2
    assert "unknown key 'selector'" in printed
    assert "did you mean 'selectors'?" in printed
