"""``trsp submit``: a grid as a job of a Ray cluster, its log followed."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.app import FAILED, INTERRUPTED, RUNNING, app
from orchestrator.commands.options import AllowVariables, GridFile
from orchestrator.interrupts import interruptible
from orchestrator.report.printing import console, print_line

if TYPE_CHECKING:
    from orchestrator.ray_backend.submission.jobs import Cluster, Job, JobState
    from orchestrator.ray_backend.submission.ray_cluster import RayCluster

Dashboard = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Its dashboard, such as http://HEAD:8265; default: RAY_ADDRESS, "
        "or the cluster that runs on this machine.",
        show_default=False,
    ),
]
WorkingDir = Annotated[
    Path | None,
    typer.Option(
        file_okay=False,
        exists=True,
        help="Send this folder, which holds FILE, in place of the installed code; its .rayignore "
        "and .gitignore count.",
        show_default=False,
    ),
]
Variables = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        metavar="NAME",
        help="Variable of this environment that the job gets beside those that FILE names, such "
        "as HF_TOKEN; may be given several times. Values are not printed, but whoever may use the "
        "cluster can read them there.",
        show_default=False,
    ),
]
Extra = Annotated[
    list[str] | None,
    typer.Argument(metavar="-- OPTIONS", help="Options of `trsp run`.", show_default=False),
]


@app.command(rich_help_panel=RUNNING)
def submit(
    file: GridFile,
    options: Extra = None,
    address: Dashboard = None,
    working_dir: WorkingDir = None,
    env: Variables = None,
    doctor: Annotated[bool, typer.Option("--doctor", help="Examine the cluster instead.")] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Print the job's id, and leave its log alone.")
    ] = False,
    allow_variable: AllowVariables = None,
) -> None:
    """Run a grid as a job of a Ray cluster, and follow its log; the file may lie anywhere."""
    from orchestrator.ray_backend.submission.environment import job_variables, this_environment
    from orchestrator.ray_backend.submission.jobs import grid_job
    from orchestrator.ray_backend.submission.package import CODE, given_folder, packed

    folder = given_folder(file, working_dir) if working_dir else packed(file, Path.cwd())
    with folder as package:
        text = file.read_text(encoding="utf-8")
        variables = job_variables(text, env or (), this_environment(CODE))
        job = grid_job(package, "doctor" if doctor else "run", options or (), variables)
        cluster, job_id = _sent(address, job)
    if no_wait:
        print(job_id)
        raise typer.Exit(0)
    raise typer.Exit(_followed(cluster, job_id))


def _say(text: str) -> None:
    """Print a line of ours: on stderr, for stdout is the job's."""
    print_line(console(stderr=True), text)


def _sent(address: str | None, job: "Job") -> tuple["RayCluster", str]:
    """Submit a job to the cluster at an address, and say so; return both."""
    from orchestrator.ray_backend.submission import versions
    from orchestrator.ray_backend.submission.jobs import log_command, send, stop_command
    from orchestrator.ray_backend.submission.ray_cluster import connect, here
    from trsp.errors import InvalidInputError

    cluster = connect(address, os.environ, Path.home())
    there = cluster.versions()
    if reason := versions.cannot_work(there, cluster.url, versions.project_needs()):
        raise InvalidInputError(reason)
    if warning := versions.difference(here(), there):
        _say(warning)
    sent = send(cluster, job)
    if sent.ran_before:
        _say(f"this grid runs there already, as job {sent.job_id}; following that one")
    else:
        texts = "".join(f", {text}" for text in job.package.texts)
        _say(f"submitted to {cluster.url} as job {sent.job_id}: code, {job.package.file}{texts}")
    _say(f"its log:  {log_command(cluster, sent.job_id)}")
    _say(f"stop it:  {stop_command(cluster, sent.job_id)}")
    return cluster, sent.job_id


@interruptible()
def _followed(cluster: "Cluster", job_id: str) -> int:
    """Follow a job until it ends or nobody wants to see more; return the exit code."""
    from orchestrator.ray_backend.submission.follow import Follower

    follower = Follower(cluster, job_id, _write, _say)
    stopping = False
    while True:
        try:
            state = follower.follow()
            return INTERRUPTED if stopping else _end(state)
        except KeyboardInterrupt:
            wish = _wish()
        if wish == "s":
            _say("stopping the job: it closes what it has opened, within 20 s")
            cluster.stop(job_id)
            stopping = True
        elif wish == "d":
            _say("detached: the job goes on, and the same command follows it again")
            return 0 if _at_terminal() else INTERRUPTED


def _write(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()


def _wish() -> str:
    """Ask what Ctrl-C is to do: d, s or c. Without a terminal, and at another Ctrl-C: d."""
    answer = "" if _at_terminal() else "d"
    while answer not in ("d", "s", "c"):
        try:
            question = "\nThe job runs on: (d)etach from it, (s)top it, (c)ontinue to follow?"
            answer = typer.prompt(question, default="d", err=True).strip()[:1].lower()
        except (typer.Abort, KeyboardInterrupt):
            return "d"
    return answer


def _at_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _end(state: "JobState") -> int:
    """Say how a job ended where its log does not; return its exit code."""
    from orchestrator.ray_backend.submission.jobs import NO_COMMAND, STOPPED

    if state.exit_code is None:
        _say(f"the job failed before it began: {state.message}")
        return FAILED
    if state.exit_code == NO_COMMAND:
        _say(
            "the cluster finds no `python`: start it from an activated environment, such as by "
            "`source .venv/bin/activate; ray start --head`, on every node"
        )
    elif state.exit_code == STOPPED:
        _say("the job was stopped; submitted again, it goes on where it was")
    return state.exit_code
