"""A grid file submitted to a cluster: the job runs the file itself."""

from pathlib import Path
from typing import Any

import pytest

from jobs.local_ray import RayHead
from orchestrator.views.grid_view import Status
from tests.integration import drivers
from tests.integration.ray_jobs import submit
from tests.tiny_grid import tiny_grid

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SHEBANG = "#!/usr/bin/env -S python -m orchestrator\n"
ONE_CELL: dict[str, Any] = {
    "selectors": "reverse",
    "ratios": 0.2,
    "transfer": "none",
    "measurement": {"protocol": "none"},
}


def test_an_executable_grid_is_a_job(
    head: RayHead, tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    """It runs to its end, and its results lie where the file says, not in the upload.

    Bad input is told, and ends with code 2.
    """
    grid = tiny_grid(tmp_path, tiny_llama, text_file, **ONE_CELL)
    grid.write_text(SHEBANG + grid.read_text())
    grid.chmod(0o755)
    bad = tmp_path / "bad.yaml"
    bad.write_text(grid.read_text() + "selector: gates\n")
    bad.chmod(0o755)
    home = str(tmp_path / "home")

    printed = submit(head, tmp_path, "./tiny.yaml", "good", home)
    job = head.job("good")
    assert (job["status"], job["driver_exit_code"]) == ("SUCCEEDED", 0), printed
    assert "1 of 1 cells done" in printed
    (cell,) = drivers.view(grid).cells
    assert cell.status is Status.DONE
    assert cell.layers == (4,)  # the deepest but the last, of 6
    assert (Path(str(cell.checkpoint_uri)) / "model.safetensors").is_file()
    (run,) = drivers.runs(grid)["grid"]
    assert run.info.status == "FINISHED"
    assert "good" in run.data.tags.values(), "the run names the job that made it"

    printed = submit(head, tmp_path, "./bad.yaml", "bad", home)
    assert head.job("bad")["driver_exit_code"] == 2
    assert "unknown key 'selector'" in printed
    assert "did you mean 'selectors'?" in printed
