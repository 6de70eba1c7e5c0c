"""Jobs as users submit them, ``ray job submit --working-dir . -- FILE``, and a Ray's processes."""

import json
import subprocess
import sys
from pathlib import Path

import psutil

from jobs.local_ray import RayHead

SUBMIT_TIMEOUT_S = 400


def submit(head: RayHead, folder: Path, name: str, job_id: str, home: str) -> str:
    """Submit the file ``name`` of ``folder`` as a job, and wait for its end.

    ``home`` becomes the job's TRSP_HOME. Returns what the command prints.
    """
    environment = {"env_vars": {"TRSP_HOME": home, "HF_HUB_OFFLINE": "1"}}
    command = [
        *(str(Path(sys.executable).parent / "ray"), "job", "submit"),
        *("--address", head.address, "--submission-id", job_id),
        *("--runtime-env-json", json.dumps(environment), "--working-dir", ".", "--", name),
    ]
    ended = subprocess.run(
        command,
        cwd=folder,
        env=dict(head.environ),
        capture_output=True,
        text=True,
        timeout=SUBMIT_TIMEOUT_S,
        check=False,
    )
    return ended.stdout + ended.stderr


def processes_of(temp_dir: Path) -> list[str]:
    """Return the command lines that name the folder, those of workers excepted.

    Workers live and die with their raylet.
    """
    lines = [
        " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])
    ]
    return [line for line in lines if f"={temp_dir}" in line]
