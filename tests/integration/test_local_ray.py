"""The demo's own Ray head: a job of it is an executable file with a shebang.

It goes away, also after its parent was killed.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import local_ray
from jobs.local_ray import RayHead
from tests.integration.ray_jobs import processes_of, submit

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
GRID = """#!/usr/bin/env -S python -m told
nothing: here
"""
STARTER = """
import sys
from pathlib import Path
sys.path.insert(0, "jobs")
from local_ray import local_ray

with local_ray(Path(sys.argv[1]), 1):
    print("up", flush=True)
    input()
"""
TOLD = """
import json, os, sys
print(json.dumps({"told": sys.argv[1:], "home": os.environ["TRSP_HOME"], "python": sys.executable}))
sys.exit(7)
"""


def test_a_grid_file_is_the_entrypoint(head: RayHead, tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text(TOLD)
    grid = tmp_path / "a.yaml"
    grid.write_text(GRID)
    grid.chmod(0o755)
    printed = submit(head, tmp_path, "./a.yaml", "told", home="/a home/with blanks")
    assert head.job("told")["driver_exit_code"] == 7
    told = next(json.loads(line) for line in printed.splitlines() if line.startswith('{"told"'))
    assert told["told"] == ["./a.yaml"]
    assert told["home"] == "/a home/with blanks"
    assert Path(told["python"]).samefile(sys.executable)


def test_a_left_over_head_is_found_and_stopped(temp_dir: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(temp_dir)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    assert parent.stdout.readline() == "up\n"
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    assert processes_of(temp_dir), "a kill -9 leaves the head up"
    local_ray.stop(temp_dir)
    assert not processes_of(temp_dir)


def test_an_environment_in_a_path_with_blanks_gets_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / "a path" / "bin"
    scripts.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(scripts / "python"))
    renamed = local_ray._scripts(tmp_path)
    assert " " not in str(renamed)
    assert renamed.samefile(scripts)
