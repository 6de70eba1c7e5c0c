"""What a training's process does with memory that it frees, and which stages do so."""

import subprocess
import sys

import pytest

from orchestrator.execution.apart.freed_memory import is_worth_keeping
from orchestrator.execution.stage_task import StageTask
from orchestrator.layouts.layout import Layout
from orchestrator.stages.stage_specs import StageSpec, cell_stages, ranking_spec
from tests.orchestrator.studies import cell, study
from trsp.config import BlockInfluenceSettings

_FREES = """
import ctypes, sys
from pathlib import Path
from orchestrator.execution.apart.freed_memory import keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

if sys.argv[1] == "keeps":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
before = resident()
pieces = [libc.malloc(20 << 20) for _ in range(10)]
for piece in pieces:
    ctypes.memset(piece, 1, 20 << 20)
for piece in pieces:
    libc.free(piece)
print(resident() - before)
"""


def held_bytes(how: str) -> int:
    """What a process holds of 200 MiB that it has freed."""
    command = [sys.executable, "-c", _FREES, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_what_is_freed_is_kept_for_the_next_step() -> None:
    assert held_bytes("keeps") > 150 << 20
    assert held_bytes("as usual") < 100 << 20


def stages() -> dict[str, StageSpec]:
    found = {str(spec.kind): spec for spec in cell_stages(cell(), study(), (1, 2))}
    return found | {"rank": ranking_spec(cell(), study())}


@pytest.mark.parametrize(
    ("kind", "kept"), [("rank", True), ("transfer", True), ("prune", False), ("evaluate", False)]
)
def test_only_trainings_keep_it(kind: str, kept: bool) -> None:
    """Others may be followed by more stages in their process, or measure what they take."""
    assert is_worth_keeping(StageTask(stages()[kind], "/store")) is kept


def test_orders_that_train_nothing_keep_nothing() -> None:
    spec = ranking_spec(cell(selector=BlockInfluenceSettings()), study())
    assert not is_worth_keeping(StageTask(spec, "/store"))


def test_on_a_gpu_there_is_nothing_to_save() -> None:
    assert not is_worth_keeping(StageTask(stages()["transfer"], "/store", Layout(gpus=1)))
