"""Kills the processes of chains at random moments (``python -m``); each driver is a fork of this.

It trains, and prints a line per kill. Its tests: test_chain_killed.py.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from orchestrator.execution import stage_functions  # noqa: F401  # torch and all, before the forks
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.store import Store
from tests.orchestrator.execution.chain_drivers import ChainDriver, commits, orphans
from tests.orchestrator.execution.chains import KINDS, Cell, cell_of, left
from tests.tiny import save_tiny, tiny_text

WITH_MEASURE = (*KINDS, StageKind.MEASURE)


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill so many chains, each on a store of its own, and check what is there in the end."""
    model, text = save_tiny("llama", folder / "model"), tiny_text(folder / "text")
    cell, chance = cell_of(folder, model, text), random.Random(seed)
    quiet = Store(str(folder / "quiet"))
    cell.run_one_by_one(quiet)
    wanted, longest_s = left(quiet, cell), {}
    for number in range(kills):
        kinds = WITH_MEASURE if number % 3 == 0 else KINDS
        if kinds not in longest_s:
            started = time.monotonic()
            drive(cell, folder / f"warm {len(kinds)}", kinds)
            longest_s[kinds] = time.monotonic() - started
        store = folder / f"store {number}"
        died_s = kill(cell, store, kinds, chance.uniform(0, longest_s[kinds]))
        check(cell, Store(str(store)), kinds, wanted, died_s)


def drive(cell: Cell, store: Path, kinds: tuple[StageKind, ...]) -> None:
    """Make the cell's stages in a process of their own, to their end."""
    child = fork(cell, store, kinds)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"a driver ended with status {status}"


def kill(cell: Cell, store: Path, kinds: tuple[StageKind, ...], after_s: float) -> float:
    """Kill a driver so many seconds after it began; return these."""
    child = fork(cell, store, kinds)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return after_s


def fork(cell: Cell, store: Path, kinds: tuple[StageKind, ...]) -> int:
    """Return the number of a new process that makes the cell's stages."""
    child = os.fork()
    if child == 0:
        try:
            ChainDriver(cell, str(store), kinds).drive()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return child


def check(
    cell: Cell, store: Store, kinds: tuple[StageKind, ...], wanted: object, died_s: float
) -> None:
    """Let the next driver end what the dead one began: nothing is lost, nothing is made twice."""
    specs = [cell[kind] for kind in kinds]
    before = {spec.key: commits(store, spec) for spec in specs}
    drive(cell, Path(store.uri), kinds)
    after = {spec.key: commits(store, spec) for spec in specs}
    assert all(len(texts) == 1 for texts in after.values()), after
    assert all(after[key] == texts for key, texts in before.items() if texts), "made twice"
    found = left(store, cell)
    records = found["records"]
    if StageKind.MEASURE in kinds:
        assert records[cell[StageKind.MEASURE].key] is not None
        records[cell[StageKind.MEASURE].key] = None
    assert found == wanted, "the results differ"
    assert orphans(store, specs) == []
    print(f"killed after {died_s:.2f} s:", *(len(texts) for texts in before.values()), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
