"""Which variables of this environment a grid's job needs on another machine. Knows no Ray.

Their values may be secrets: they are handed on, and never printed.
"""

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from orchestrator.grid.locations import ALLOWED_VARIABLES, variables_of

# What a stage must see of our environment on whatever node it runs.
FORWARDED = (
    "HF_HUB_OFFLINE",
    "HF_HOME",
    "TRSP_HOME",
    "TRSP_TMPDIR",
    "TRSP_CACHE_DIR",
    "TRSP_CACHE_BYTES",
)
GIT_SHA = "TRSP_GIT_SHA"  # the commit of the code, for the runs in MLflow
_THERE = frozenset({"HOME", "USER"})  # in a file: of the machine that it runs on
# From SIGTERM to SIGKILL of a stopped job's driver: time to close its MLflow runs.
_STOP_WAIT = {"RAY_JOB_STOP_WAIT_TIME_S": "20"}


def job_variables(text: str, asked: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a grid's job, as far as it is not the cluster's own.

    ``text``: of the grid file; the variables that it names travel, and those that are ``asked``
    for. What is not set here is left to the cluster.
    """
    names = {*FORWARDED, ALLOWED_VARIABLES, GIT_SHA, *variables_of(text), *asked} - _THERE
    found = {name: environ[name] for name in sorted(names) if name in environ}
    return _STOP_WAIT | found


def git_sha(folder: Path) -> str:
    """Return the commit that the code of a folder is of, with ``-dirty`` where files differ.

    Empty outside of a git checkout, and without git. A job cannot ask: its copy has no .git.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    if not (folder / ".git").exists():
        return ""
    try:
        ended = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    except OSError:
        return ""
    return ended.stdout.strip()


def this_environment(code: Path) -> dict[str, str]:
    """Return this process's environment, with the commit of the code where that can be known."""
    sha = git_sha(code)
    return ({GIT_SHA: sha} if sha else {}) | dict(os.environ)
