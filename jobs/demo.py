"""`make demo`: a real model and text, a local Ray, jobs/demo.yaml as a job of it, and its results.

Knows how to start things and what to print, nothing of pruning: every number comes from the driver
and `trsp best`. Calling it again reuses all that is in TRSP_HOME (default ~/.trsp), also after a
kill -9 of any part of it.
"""

import argparse
import fcntl
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from local_ray import RayHead, local_ray

ROOT = Path(__file__).resolve().parent.parent
GRID = "jobs/demo.yaml"
BIN = Path(sys.executable).parent
MAX_CPUS = 4  # one stage per CPU, about 1.5 GB each
STOP_WAIT_S = 20  # from SIGTERM to SIGKILL of a stopped job's driver: time to close its MLflow runs
STAGE_FAILED = 1  # the driver's exit code when some cells could not be made; the others are there
PROMPT = "The most important thing about the sea is"


def main() -> int:
    """Make the assets, run the grid on a local Ray and show what came out.

    Returns the driver's exit code.
    """
    options = _options()
    started = time.monotonic()
    signal.signal(signal.SIGTERM, _exit)
    home = Path(os.environ.get("TRSP_HOME") or "~/.trsp").expanduser().resolve()
    home.mkdir(parents=True, exist_ok=True)
    settings = {"TRSP_HOME": str(home), "HF_HUB_OFFLINE": "1", "TRSP_GIT_SHA": _git_sha()}
    os.environ.update(settings)
    with _only_one(home / "demo.lock"):
        _title(f"Model, text and benchmarks in {home / 'assets'}")
        _run(sys.executable, "jobs/demo_assets.py", str(home / "assets"))
        code = _run_grid(_temp_dir(home), options, settings)
    if code in (0, STAGE_FAILED):
        _show_results()
    end = "Done" if code == 0 else f"The job failed (exit code {code})"
    _title(f"{end} in {time.monotonic() - started:.0f} s")
    return code


def _options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--keep-ray",
        action="store_true",
        help="leave Ray up afterwards (the next demo replaces it)",
    )
    parser.add_argument(
        "--num-cpus",
        type=int,
        default=min(os.cpu_count() or 1, MAX_CPUS),
        help="stages side by side",
    )
    return parser.parse_args()


def _run_grid(temp_dir: Path, options: argparse.Namespace, settings: dict[str, str]) -> int:
    """Start a local Ray and run the grid on it. Returns the driver's exit code."""
    _title("A local Ray")
    with local_ray(temp_dir, options.num_cpus, keep=options.keep_ray) as head:
        print(f"{head.address} on {options.num_cpus} CPUs, logs in {head.temp_dir}")
        code = _submit(head, settings)
        if options.keep_ray:
            token = head.environ["RAY_AUTH_TOKEN"]
            print(f"Ray stays up; its dashboard asks for this token: {token}")
    return code


def _submit(head: RayHead, settings: dict[str, str]) -> int:
    """Submit the grid as a job of that head, its log on our output, and wait for its end.

    Returns the driver's exit code (that of the `ray job submit` is 1 whatever happened).
    """
    _title(f"ray job submit --working-dir . -- {GRID}")
    job_id = f"demo-{time.strftime('%Y%m%d-%H%M%S')}"
    command = _submit_command(head, job_id, settings)
    try:
        subprocess.run(command, cwd=ROOT, env=head.environ, check=False)
        job = head.job(job_id)
    except OSError as error:
        raise RuntimeError(f"lost Ray: {error}; its logs are in {head.temp_dir}") from error
    except BaseException:  # Ctrl-C above all: the driver closes its runs before Ray goes
        print("stopping the job", flush=True)
        head.stop_job(job_id)
        raise
    return 0 if job["status"] == "SUCCEEDED" else int(job.get("driver_exit_code") or 1)


def _submit_command(head: RayHead, job_id: str, settings: dict[str, str]) -> list[str]:
    """The `ray job submit` of the grid; ``settings`` are for the driver's environment."""
    driver = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S), "PYTHONUNBUFFERED": "1"}
    return [
        *(str(BIN / "ray"), "job", "submit"),
        *("--address", head.address, "--submission-id", job_id, "--working-dir", "."),
        *("--log-color", "auto" if sys.stdout.isatty() else "false"),
        *("--runtime-env-json", json.dumps({"env_vars": settings | driver}), "--", GRID),
    ]


def _show_results() -> None:
    """Print what the best checkpoint writes, and how to look at everything in MLflow."""
    checkpoint = _best_checkpoint()
    if checkpoint:
        _title(f"{checkpoint} goes on, greedily")
        print(_generate(checkpoint))
    _title("The same in MLflow (the leaderboard's link stands above)")
    home = os.environ["TRSP_HOME"]
    default = str(Path("~/.trsp").expanduser().resolve())
    print("make ui" + ("" if home == default else f" TRSP_HOME={shlex.quote(home)}"))


def _best_checkpoint() -> str | None:
    """Return the folder of the checkpoint chosen under the first budget that any one meets.

    None when none does.
    """
    command = [BIN / "trsp", "best", GRID, "--json"]
    answer = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
    chosen = (choice["best"] for choice in json.loads(answer.stdout or "[]"))
    return next((cell["checkpoint"].removeprefix("file://") for cell in chosen if cell), None)


def _generate(checkpoint: str) -> str:
    """Return the prompt and 30 tokens more."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    prompt = tokenizer(PROMPT, return_tensors="pt")
    tokens = model.generate(
        **prompt, max_new_tokens=30, do_sample=False, pad_token_id=tokenizer.eos_token_id
    )
    return str(tokenizer.decode(tokens[0], skip_special_tokens=True))


def _run(*command: str | Path) -> None:
    """Run a command in the project's root; CalledProcessError when it fails."""
    subprocess.run(command, cwd=ROOT, check=True)


def _title(text: str) -> None:
    """Print a heading."""
    print(f"\n== {text}", flush=True)


def _temp_dir(home: Path) -> Path:
    """Return the folder of the one Ray of this user and TRSP_HOME.

    It lies in /tmp itself, because socket paths must be short.
    """
    digest = hashlib.sha256(f"{os.getuid()} {home}".encode()).hexdigest()
    return Path("/tmp") / f"trsp-demo-{digest[:8]}"


def _git_sha() -> str:
    """Return the commit, with ``-dirty`` where files differ; empty outside of a git checkout.

    The driver cannot ask: Ray's upload leaves .git out.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return ended.stdout.strip()


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Let one demo per TRSP_HOME run at a time: a second one would stop the first one's Ray.

    The system frees the lock on a kill -9.
    """
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(
                f"another demo is running on {lock.parent}; wait for it, or set another TRSP_HOME"
            ) from None
        yield


def _exit(signum: int, _frame: FrameType | None) -> None:
    """End by a signal as by an error: contexts are left, and the exit code is the shell's."""
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (subprocess.CalledProcessError, RuntimeError) as error:
        sys.exit(f"demo: {error}")
