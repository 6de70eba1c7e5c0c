"""The demo's own Ray head: a job of it is an executable file with a shebang; it goes away, also after its parent was killed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
GRID = """#!/usr/bin/env -S python -m told
nothing: here
"""
TOLD = """
import json, os, sys
print(json.dumps({"told": sys.argv[1:], "home": os.environ["TRSP_HOME"], "python": sys.executable}))
sys.exit(7)
"""


@pytest.fixture(scope="module")
def local_ray() -> ModuleType:
    spec = importlib.util.spec_from_file_location("local_ray", ROOT / "jobs" / "local_ray.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["local_ray"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def temp_dir(local_ray: ModuleType) -> Iterator[Path]:
    folder = Path("/tmp") / f"trsp-test-{uuid.uuid4().hex[:8]}"  # short: sockets live in it
    yield folder
    local_ray.stop(folder)
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_a_grid_file_is_the_entrypoint(
    local_ray: ModuleType, temp_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "told.py").write_text(TOLD)
    grid = tmp_path / "a.yaml"
    grid.write_text(GRID)
    grid.chmod(0o755)
    runtime_env = json.dumps({"env_vars": {"TRSP_HOME": "/a home/with blanks"}})
    with local_ray.local_ray(temp_dir, num_cpus=1) as head:
        command = [
            "ray",
            "job",
            "submit",
            "--address",
            head.address,
            "--submission-id",
            "one",
            "--working-dir",
            ".",
        ]
        command += ["--runtime-env-json", runtime_env, "--", "./a.yaml"]
        shown = subprocess.run(
            command, cwd=tmp_path, env=head.environ, capture_output=True, text=True, timeout=120
        )
        job = head.job("one")
    assert job["driver_exit_code"] == 7
    told = next(
        json.loads(line) for line in shown.stdout.splitlines() if line.startswith('{"told"')
    )
    assert told["told"] == ["./a.yaml"]
    assert told["home"] == "/a home/with blanks"
    assert Path(told["python"]).samefile(sys.executable)
    assert not processes_of(temp_dir)


def test_a_left_over_head_is_found_and_stopped(local_ray: ModuleType, temp_dir: Path) -> None:
    starter = "import sys; sys.path.insert(0, 'jobs'); from pathlib import Path; from local_ray import local_ray\n"
    starter += f"with local_ray(Path({str(temp_dir)!r}), 1): print('up', flush=True); input()"
    parent = subprocess.Popen(
        [sys.executable, "-c", starter],
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
    local_ray: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / "a path" / "bin"
    scripts.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(scripts / "python"))
    renamed = local_ray._scripts(tmp_path)
    assert " " not in str(renamed)
    assert renamed.samefile(scripts)


def processes_of(temp_dir: Path) -> list[str]:
    """Command lines that name the folder, workers excepted: those live and die with their raylet."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if f"={temp_dir}" in line:
            found.append(line)
    return found
