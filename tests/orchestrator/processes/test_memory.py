"""Memory is given back: what many calls leave is what the first few left."""

import os
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.execution.apart.stage_process import outcomes_of, preload, stage_call
from orchestrator.execution.stage_task import StageTask
from orchestrator.grid.schema import load_grid
from orchestrator.stages.resolve import resolve
from orchestrator.stages.stage_specs import prune_spec
from tests.orchestrator.processes import functions
from tests.orchestrator.processes.conftest import Caller, wait_until
from tests.tiny_grid import tiny_grid

FEW, MANY = 6, 200
MOST_GROWTH = 1.05


def resident_bytes(server: psutil.Process) -> int:
    """Return what the caller, the server and its processes hold; what they share counts once."""
    total = 0
    for process in (psutil.Process(), server, *server.children(recursive=True)):
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


def test_what_calls_have_taken_is_given_back(caller: Caller) -> None:
    server = caller.server()

    def calls(number: int) -> int:
        for _ in range(number):
            assert caller.call(functions.grow, 16 * 2**20).returned
        wait_until(lambda: not server.children())
        return resident_bytes(server)

    few = calls(FEW)
    assert calls(MANY // 4) <= MOST_GROWTH * few


@pytest.mark.slow
def test_200_stages_one_after_the_other_leave_the_memory_that_the_first_few_left(
    folder: Path, tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    """Every third in a fresh process, the others where another was before them."""
    written = tiny_grid(tmp_path / "grid", tiny_llama, text_file, transfer="none")
    grid = resolve(load_grid(written), hardware="cpu")
    caller, numbers = Caller(preload()), iter(range(FEW + MANY))

    def stage() -> None:
        number = next(numbers)
        chosen = number % 31 + 1  # in bits
        layers = [layer for layer in range(5) if chosen >> layer & 1]
        task = StageTask(
            prune_spec(grid.cells[0], grid.study, layers), str(tmp_path / f"store-{number // 31}")
        )
        environment = {**os.environ, "OMP_NUM_THREADS": str(1 + number % 3 // 2)}
        ended = caller.processes.run(stage_call(task, environment), print, lambda: False)
        assert ended.returned, ended
        assert not any(outcomes_of(ended.result).values())

    for _ in range(FEW):
        stage()
    server = caller.server()  # by a call that ends the process that was kept
    wait_until(lambda: not server.children())
    few = resident_bytes(server)
    for _ in range(MANY):
        stage()
    assert caller.server() == server
    wait_until(lambda: not server.children())
    print(f"{few / 2**20:.0f} MiB, then {resident_bytes(server) / 2**20:.0f} MiB")
    assert resident_bytes(server) <= MOST_GROWTH * few
