"""Ranks that are killed: the training goes on, on as many ranks or others."""

import itertools
import shutil
import time
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import tiny_model
from tests.trsp.spawn_ranks import Gang, on_ranks
from tests.trsp.training.resumable import (
    BLOCKS,
    DRIFT,
    ZERO_2,
    largest_difference,
    this_rank,
    weights,
)
from trsp.config import DriftSettings
from trsp.training.progress import Progress
from trsp.training.snapshots import FolderSnapshots
from trsp.transfer import transfer

LONG = DRIFT.model_copy(update={"steps": 40})
EVERY = 3


def train_and_log(folder: Path, attempt: str, settings: DriftSettings = LONG) -> None:
    """On every rank: go on from the last snapshot, and log every step that is done."""
    model, snapshots = tiny_model("llama"), FolderSnapshots(folder / "snapshots", attempt)
    begun = snapshots.latest()
    steps = itertools.count(begun.step + 1 if begun else 1)
    with (folder / f"{attempt}-{this_rank()}.log").open("w", buffering=1) as log:

        def step_is_done() -> bool:
            log.write(f"{next(steps)}\n")
            return False

        progress = Progress(snapshots, every_steps=EVERY, leaving=step_is_done)
        transfer(model, [1, 3], BLOCKS, settings, 0.5, ZERO_2, progress)
    if this_rank() == 0:
        save_file(weights(model), folder / "weights.safetensors")


def steps_done(folder: Path, attempt: str) -> list[int]:
    """The steps that any rank has done, in order."""
    logs = [
        [int(line) for line in log.read_text().split()] for log in folder.glob(f"{attempt}-*.log")
    ]
    return max(logs, key=len, default=[])


def kill_one(
    folder: Path, attempt: str, steps: int, rng: Random, settings: DriftSettings = LONG
) -> None:
    """SIGKILL to a rank once ``steps`` steps are done, at whatever it is doing then."""
    with Gang(2, train_and_log, folder, attempt, settings) as gang:
        deadline = time.monotonic() + 60
        while len(steps_done(folder, attempt)) < steps:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(rng.random() * 0.05)
        killed = rng.randrange(2)
        gang.kill(killed)
        outcomes = gang.join(30)
    assert outcomes[killed].exitcode == -9
    assert outcomes[1 - killed].error is not None, "the other rank does not go on alone"


@pytest.mark.slow
def test_a_rank_killed_ten_times_costs_at_most_one_interval_each_time(tmp_path: Path) -> None:
    rng = Random(0)
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    disturbed.mkdir()
    undisturbed.mkdir()
    on_ranks(2, train_and_log, undisturbed, "only")
    for number in range(10):
        kill_one(disturbed, f"{number:02d}", rng.randint(1, 4), rng)
    on_ranks(2, train_and_log, disturbed, "last")
    attempts = [
        steps_done(disturbed, attempt)
        for attempt in [*(f"{number:02d}" for number in range(10)), "last"]
    ]
    repeated = [earlier[-1] - later[0] + 1 for earlier, later in pairwise(attempts)]
    assert max(repeated) <= EVERY
    assert min(repeated) >= 0, "and no step is left out"
    assert attempts[-1][-1] == LONG.steps
    found, wanted = (
        load_file(folder / "weights.safetensors") for folder in (disturbed, undisturbed)
    )
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.slow
def test_two_ranks_are_killed_and_one_or_four_go_on(tmp_path: Path) -> None:
    short = DRIFT.model_copy(update={"steps": 12})
    killed = tmp_path / "killed"
    killed.mkdir()
    kill_one(killed, "two", 6, Random(1), short)
    done = steps_done(killed, "two")[-1]
    model = tiny_model("llama")
    transfer(model, [1, 3], BLOCKS, short, 0.5)
    for ranks in (1, 4):
        folder = shutil.copytree(killed, tmp_path / f"on {ranks}")
        on_ranks(ranks, train_and_log, folder, "resumed", short)
        assert 0 <= done - steps_done(folder, "resumed")[0] + 1 <= EVERY
        assert largest_difference(load_file(folder / "weights.safetensors"), weights(model)) < 1e-5
