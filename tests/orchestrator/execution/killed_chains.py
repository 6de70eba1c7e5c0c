"""Kills the processes of chains at random moments (``python -m``); each driver is a fork of this.

It trains, and prints a line per kill. Its tests: test_chain_killed.py.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trsp.checkpoints.checkpoint
import trsp.evaluation.measure
import trsp.surgery
import trsp.transfer  # noqa: F401
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.store import Store
from tests.orchestrator.execution.chain_drivers import ChainDriver, commits, orphans
from tests.orchestrator.execution.chains import KINDS, Cell, cell_of, left
from tests.tiny import save_tiny, tiny_text

WITH_MEASURE = (*KINDS, StageKind.MEASURE)


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill so many chains, each on a store of its own, and check what is there in the end."""
    chance, longest_s = random.Random(seed), {}
    finish(lambda: prepare(folder))
    for number in range(kills):
        kinds = WITH_MEASURE if number % 3 == 0 else KINDS
        if kinds not in longest_s:
            started = time.monotonic()
            finish(partial(drive, folder, f"warm {len(kinds)}", kinds))
            longest_s[kinds] = time.monotonic() - started
        died_s = chance.uniform(0, longest_s[kinds])
        kill(partial(drive, folder, f"store {number}", kinds), died_s)
        finish(partial(check, folder, f"store {number}", kinds, died_s))


def prepare(folder: Path) -> None:
    """Make the model and the text, and what separate stages make of them."""
    save_tiny("llama", folder / "model")
    tiny_text(folder / "text")
    cell(folder).run_one_by_one(Store(str(folder / "quiet")))


def cell(folder: Path) -> Cell:
    return cell_of(folder, folder / "model", folder / "text" / "text.jsonl")


def drive(folder: Path, store: str, kinds: tuple[StageKind, ...]) -> None:
    """Make the cell's stages as a driver does."""
    ChainDriver(cell(folder), str(folder / store), kinds).drive()


def finish(work: Callable[[], None]) -> None:
    """Do some work in a process of its own, to its end."""
    _, status = os.waitpid(fork(work), 0)
    assert status == 0, f"a process ended with status {status}"


def kill(work: Callable[[], None], after_s: float) -> None:
    """Kill a process that does some work so many seconds after it began."""
    child = fork(work)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def fork(work: Callable[[], None]) -> int:
    """Return the number of a new process that does some work.

    This one only imports: what libraries have started by then would be half there in a fork.
    """
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return child


def check(folder: Path, name: str, kinds: tuple[StageKind, ...], died_s: float) -> None:
    """Let the next driver end what the dead one began: nothing is lost, nothing is made twice."""
    ours, store = cell(folder), Store(str(folder / name))
    specs = [ours[kind] for kind in kinds]
    before = {spec.key: commits(store, spec) for spec in specs}
    drive(folder, name, kinds)
    after = {spec.key: commits(store, spec) for spec in specs}
    assert all(len(texts) == 1 for texts in after.values()), after
    assert all(after[key] == texts for key, texts in before.items() if texts), "made twice"
    found, wanted = left(store, ours), left(Store(str(folder / "quiet")), ours)
    if StageKind.MEASURE in kinds:
        assert found["records"].pop(ours[StageKind.MEASURE].key) is not None
        wanted["records"].pop(ours[StageKind.MEASURE].key)
    assert found == wanted, "the results differ"
    assert orphans(store, specs) == []
    print(f"killed after {died_s:.2f} s:", *(len(texts) for texts in before.values()), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
