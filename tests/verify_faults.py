"""Proves that faults cost time and nothing else.

    python -m tests.verify_faults [--faults 200] [--seed 0] [--every 2 10] [--keep]

Two drivers run grids of tiny real models on a Ray of three nodes, with a store on S3 and an MLflow
server, while random faults are made until there were so many. Every grid must come to its end with
the results of a quiet run and with nothing left over. Exit code 1 where anything is otherwise.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.grid.schema import load_grid
from orchestrator.store.store import Store
from tests.tiny_grid import tiny_grid
from tests.trials import findings
from tests.trials.faults import Faults
from tests.trials.supervised import End, SupervisedDriver
from tests.trials.world import World, remove, started
from trsp.evaluation.hardware import hardware_name

DRIVERS = 2
SEEDS = 4  # grids differ by their seed; each has one quiet run
CLAIM_LIFETIME_S = 8.0  # of a driver that gives no sign of life
PAUSE_S = 20.0  # of a driver that is stopped
BETWEEN_S = (2.0, 10.0)  # from one fault to the next, where --every says nothing else
ROUND_LIMIT_S = 1200.0
TICK_S = 0.2
AWAY_S = 20.0  # for so long after an outage, drivers may end because of it
# What a driver prints that may end, what is away then, and whether it has stepped before.
EXCUSES = (
    ("error: no MLflow at ", "MLflow", False, "refused to begin: MLflow was away"),
    ("error: cannot open the experiment ", "MLflow", False, "refused to begin: MLflow was away"),
    ("error: cannot close the runs ", "MLflow", False, "refused to begin: MLflow was away"),
    ("error: store ", "S3", False, "refused to begin: S3 was away"),
    (" misses results of grid ", "MLflow", True, "asked to be run again: MLflow was away"),
)
TOLERANCE = 1e-4  # relative; a training that is resumed may round otherwise
TINY = {
    "gate_l1": 0.1,
    "selectors": {"name": "gates", "steps_per_round": 12, "blocks_per_step": 2},
    "transfer": {"name": "drift", "steps": 30, "blocks_per_step": 2, "learning_rate": 1e-3},
    "resources": {"max_attempts": 20, "snapshot_every_steps": 5, "use_gpus": False},
    "budgets": [],
}


@dataclass
class Trial:
    """All rounds of one call: what was done, and what is wrong."""

    world: World
    faults: Faults
    wanted: int
    between_s: tuple[float, float] = BETWEEN_S
    wrong: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    quiet: dict[int, str] = field(default_factory=dict)  # stores of quiet runs, by seed
    leftovers: set[str] = field(default_factory=set)

    @property
    def made(self) -> int:
        return sum(self.faults.made.values())

    def say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def blame(self, text: str) -> None:
        self.wrong.append(text)
        self.say(f"WRONG: {text}")

    def round(self, number: int, seed: int) -> None:
        """Run a grid to its end among faults, and look at what it left."""
        name = f"round-{number}"
        grid = self._grid(self.world.folder / name, self.world.store(name), seed, name)
        began = time.monotonic()
        address = self.world.nodes.address
        drivers = [SupervisedDriver(each, grid, address) for each in range(1, DRIVERS + 1)]
        for driver in drivers:
            driver.start()
        try:
            self._disturb(drivers, began)
        finally:
            for driver in drivers:
                driver.stop()
        self.faults.undo_all()
        self._examine(grid, name, seed)
        self.say(f"{name} ended after {time.monotonic() - began:.0f} s; {self.made} faults so far")

    def _disturb(self, drivers: list[SupervisedDriver], began: float) -> None:
        """Make faults, at random times, until the drivers have ended."""
        next_at = time.monotonic() + self.faults.rng.uniform(*self.between_s)
        while not all(driver.finished for driver in drivers):
            time.sleep(TICK_S)
            self.faults.undo_due()
            for driver in drivers:
                if (end := driver.tend()) is not None:
                    self._judge(end)
            if self.made < self.wanted and time.monotonic() > next_at:
                if done := self.faults.make(drivers):
                    self.say(f"fault {self.made}: {done}")
                next_at = time.monotonic() + self.faults.rng.uniform(*self.between_s)
            if time.monotonic() - began > ROUND_LIMIT_S:
                self.blame(f"the grid has not ended after {ROUND_LIMIT_S:g} s")
                return

    def _judge(self, end: End) -> None:
        """Count how a driver ended, and blame it where no fault excuses that."""
        what = f"driver {end.driver} ended with {end.code}"
        began_s = end.ended_at - end.began_at
        if end.code == 0:
            why = "with 0"
        elif end.killed:
            why = "killed by a fault"
        else:
            why = self._excuse(end)
        if not why:
            self.blame(f"{what} after {began_s:.0f} s:\n{end.printed}")
        self.ends[why or "of its own"] += 1
        self.say(f"{what} after {began_s:.0f} s: {why}")

    def _excuse(self, end: End) -> str:
        """Why a driver may end so, by what it printed and what was away; empty where it may not."""
        for text, away, stepped, why in EXCUSES:
            was_away = self.faults.was_away(away, end.ended_at - AWAY_S, end.ended_at)
            if was_away and text in end.printed and end.stepped is stepped and end.code == 2:
                return why
        if end.code < 0 and self.faults.was_away("a node", end.ended_at - AWAY_S, end.ended_at):
            return "died with the raylet of its node"
        return ""

    def _examine(self, grid: Path, name: str, seed: int) -> None:
        """Look for what a grid that has ended must not leave, and compare its results."""
        store = self.world.store(name, directly=True)
        found = [
            *findings.unfinished(grid),
            *findings.orphans(store),
            *findings.open_runs(self.world.tracking.database, name),
            *findings.claims(store),
            *findings.rounds_written_twice(self.world.s3_log, name),
            *findings.differences(store, self._quiet(seed), TOLERANCE),
        ]
        for each in found:
            self.blame(f"{name}: {each}")
        exact = sum(1 for _ in findings.differences(store, self._quiet(seed), 0.0))
        self.say(f"{name}: {len(findings.read_results(store))} results, {exact} not equal in bits")
        left = findings.left_in(self.world.temporary)
        for each in sorted(left & self.leftovers):
            self.blame(f"{name}: {each} lies among the temporary files since the round before")
        self.leftovers = left
        self._count_failures(store)

    def _count_failures(self, store: str) -> None:
        """Count the failures of stages that the store has recorded, by their class."""
        opened = Store(store)
        for path in findings.file_paths(store):
            if path.parts[3:4] == ("failures",) and path.suffix == ".json":
                document = opened.files.read_json(str(path)) or {}
                self.failures[f"{document.get('kind')}: {document.get('error')}"] += 1

    def _quiet(self, seed: int) -> str:
        """The store of a quiet run with this seed, which is made at the first call."""
        if seed not in self.quiet:
            folder = self.world.folder / f"quiet-{seed}"
            grid = self._grid(folder, str(folder / "store"), seed, f"quiet-{seed}")
            command = [sys.executable, "-m", "tests.trials.quiet", str(grid), hardware_name(1)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            self.quiet[seed] = str(folder / "store")
        return self.quiet[seed]

    def _grid(self, folder: Path, store: str, seed: int, experiment: str) -> Path:
        """Write a grid file that is the same for every folder but for where its results go."""
        tracking = {"uri": self.world.tracking.url, "experiment": experiment}
        changes = TINY | {"seeds": seed, "storage": {"store": store}, "tracking": tracking}
        grid = tiny_grid(folder, self.world.model, self.world.text, **changes)
        load_grid(grid)
        return grid

    def print_table(self) -> None:
        """Print what was done and what came of it."""
        for title, counts in (
            ("faults", self.faults.made),
            ("drivers' ends", self.ends),
            ("failures of stages", self.failures),
        ):
            print(f"\n{title}")
            for what, count in sorted(counts.items()):
                print(f"  {count:5d}  {what}")
        print(f"\n{self.made} faults, {len(self.wrong)} things wrong")
        for each in self.wrong:
            print(f"  {each.splitlines()[0]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--faults", type=int, default=200, help="how many are made")
    parser.add_argument("--seed", type=int, default=0, help="of the faults' kinds and times")
    parser.add_argument(
        "--every",
        type=float,
        nargs=2,
        default=BETWEEN_S,
        metavar=("LEAST_S", "MOST_S"),
        help="the time from one fault to the next",
    )
    parser.add_argument("--keep", action="store_true", help="the folder with all logs")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="trials-", dir="/tmp"))
    os.environ["TRSP_CLAIM_LIFETIME_S"] = str(CLAIM_LIFETIME_S)
    print(f"logs are in {folder}", flush=True)
    with started(folder) as world:
        faults = Faults(world, random.Random(chosen.seed), PAUSE_S)
        trial = Trial(world, faults, chosen.faults, tuple(chosen.every))
        number = 0
        while trial.made < trial.wanted:
            trial.round(number, number % SEEDS)
            number += 1
        trial.print_table()
    if not chosen.keep and not trial.wrong:
        remove(folder)
    return 1 if trial.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
