"""Which process is which, and whether it has ended."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.coordination.process import ProcessIdentity

HERE = ProcessIdentity.here()


def test_this_process_is_not_gone() -> None:
    assert HERE.pid == os.getpid()
    assert not HERE.is_gone()
    assert HERE.text == f"process {os.getpid()} on {HERE.host}"


def test_a_later_process_with_the_same_number_is_another_one() -> None:
    assert replace(HERE, start="1").is_gone()


def test_a_process_that_has_ended_is_gone_though_its_parent_took_no_note() -> None:
    code = (
        "from dataclasses import asdict; import json; "
        "from orchestrator.coordination.process import ProcessIdentity; "
        "print(json.dumps(asdict(ProcessIdentity.here())), flush=True); input()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    identity = ProcessIdentity(**json.loads(child.stdout.readline()))
    assert identity.is_near(HERE)
    assert not identity.is_gone()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie from now on
    assert identity.is_gone()
    child.communicate()


def test_nobody_knows_of_processes_of_other_machines_and_namespaces() -> None:
    ended = replace(HERE, start="1")
    for elsewhere in (
        replace(ended, boot="another"),
        replace(ended, namespace="pid:[1]"),
        replace(ended, boot="", namespace=""),
    ):
        assert not elsewhere.is_near(HERE)
        assert not elsewhere.is_gone()


def test_a_process_that_another_user_hides_from_us_is_not_taken_for_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On machines that many share, /proc is often mounted with ``hidepid``."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity, read = replace(HERE, pid=child.pid), Path.read_text

    def hidden(path: Path, **options: str) -> str:
        if path.parts[1:3] == ("proc", str(child.pid)):
            raise PermissionError(path)
        return read(path, **options)

    monkeypatch.setattr(Path, "read_text", hidden)
    assert not identity.is_gone()
    child.kill()
    child.communicate()
    assert identity.is_gone()
