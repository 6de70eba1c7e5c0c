"""Stages in processes of their own: what these print, and what is left by one that is ended."""

import subprocess
import sys
from pathlib import Path

from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.failures import FailureKind
from orchestrator.store.rank_reports import RankReport
from orchestrator.store.store import Store

_NOISY = """
import os, subprocess, sys
from orchestrator.execution import run_stage
from orchestrator.execution.stage_task import StageTask
from orchestrator.stages.stage_specs import StageKind, StageSpec

def noisy(context):
    print("x" * 50_000)
    print("from python")
    print("to stderr", file=sys.stderr)
    subprocess.run(["echo", "from a child"])
    os.write(2, b"from C" + bytes([0xff]))
    print("the end")
    raise RuntimeError("boom")

run_stage.STAGES = {StageKind.PRUNE: noisy}
failure = run_stage.run_task(StageTask(StageSpec(StageKind.PRUNE, {}), sys.argv[1]))
print("after", failure.error)
"""


def test_the_end_of_what_a_failed_stage_printed_anywhere_is_kept_and_nothing_of_it_is_shown(
    tmp_path: Path,
) -> None:
    """In a process of its own: pytest has its hands on the descriptors of this one."""
    command = [sys.executable, "-c", _NOISY, str(tmp_path)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert ended.stdout == "after RuntimeError\n"
    assert ended.stderr == ""
    (log,) = tmp_path.rglob("log-*.txt")
    text = log.read_text()
    assert len(text) <= 20_000 + 500, "the output, after a few lines that say what happened"
    assert text.index("the end") < text.rindex("RuntimeError: boom")
    for line in ("from python", "to stderr", "from a child", "from C"):
        assert line in text, "from any source"


_HANGS = """
import sys, time
from orchestrator.execution import run_stage
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.execution.stage_task import StageTask

def hangs(context):
    print("it began")
    with context.training() as progress:
        progress.beat()
        time.sleep(60)

run_stage.STAGES = {StageKind.TRANSFER: hangs}
run_stage.run_task(StageTask(StageSpec(StageKind.TRANSFER, {}), sys.argv[1], hang_timeout_s=0.5))
"""


def test_a_process_without_steps_is_ended_and_leaves_its_stacks(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-c", _HANGS, str(tmp_path)]
    ended = subprocess.run(command, check=False, timeout=50)
    assert ended.returncode == 1
    store = Store(str(tmp_path))
    report = RankReport(store, StageSpec(StageKind.TRANSFER, {}).key, "0")
    failure = report.failure()
    assert failure is not None
    assert (failure.kind, failure.message) == (FailureKind.HUNG, "no step for 0.5 s")
    assert failure.tail.index("it began") < failure.tail.index("in hangs")
    report.remove()
    assert list(tmp_path.rglob("*.txt")) == []


def test_a_process_that_is_killed_leaves_its_output(tmp_path: Path) -> None:
    dies = _HANGS.replace("time.sleep(60)", "import os; os.abort()")
    command = [sys.executable, "-u", "-c", dies, str(tmp_path)]
    ended = subprocess.run(command, check=False, timeout=50)
    assert ended.returncode < 0
    report = RankReport(Store(str(tmp_path)), StageSpec(StageKind.TRANSFER, {}).key, "0")
    assert report.failure() is None
    assert "it began" in report.tail()
