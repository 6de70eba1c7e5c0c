"""Real trainings whose state is copied and written beside their steps: files, kills, gangs."""

import io
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.trsp.spawn_ranks import on_ranks
from tests.trsp.training.resumable import (
    BLOCKS,
    DRIFT,
    WAYS,
    ZERO_2,
    resumable_model,
    this_rank,
)
from trsp.distributed.device import kept_host_bytes
from trsp.engine import engine_state, host_copy
from trsp.engine.engine import Engine
from trsp.engine.optimizer_config import OptimizerConfig
from trsp.training.progress import Progress
from trsp.training.snapshots import FolderSnapshots
from trsp.transfer import transfer

LONG = DRIFT.model_copy(update={"steps": 16})


class KilledError(Exception):
    """The process is gone."""


@pytest.fixture
def tiny_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have even a tiny state copied, in small chunks."""
    monkeypatch.setattr(engine_state, "LEAST_COPIED_BYTES", 0)
    monkeypatch.setattr(host_copy, "CHUNK_BYTES", 1000)


@pytest.mark.usefixtures("tiny_copies")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("way", ["zero 0", "zero 2, offload", "zero 3"])
def test_a_copy_is_the_file_of_its_step(way: str, dtype: torch.dtype) -> None:
    """Later steps do not reach it: bit-equal to the file that is written at once."""
    at_once, later = io.BytesIO(), io.BytesIO()
    with Engine(resumable_model(dtype), WAYS[way], 4, OptimizerConfig(1e-3, steps=6)) as engine:
        engine.step(BLOCKS[:4])
        engine.save_state(at_once)
        copied = engine.copy_state()
        engine.step(BLOCKS[4:])
    assert copied is not None
    assert copied.write(later) == len(at_once.getvalue())
    assert later.getvalue() == at_once.getvalue()


def refused(*_: Any, **__: Any) -> Any:
    raise RuntimeError("CUDA error: out of memory")


@pytest.mark.parametrize("lacks", ["size", "room", "pinned memory"])
def test_what_is_small_or_has_no_room_is_not_copied(
    lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lacks != "size":
        monkeypatch.setattr(engine_state, "LEAST_COPIED_BYTES", 0)
    monkeypatch.setattr(engine_state, "has_room", lambda _: lacks != "room")
    if lacks == "pinned memory":
        monkeypatch.setattr(host_copy, "torch", SimpleNamespace(**vars(torch) | {"empty": refused}))
    with Engine(resumable_model(), ZERO_2, 4, OptimizerConfig(1e-3, steps=6)) as engine:
        assert engine.copy_state() is None


def test_memory_that_is_kept_from_the_copy_before_is_room_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pinned memory stays with torch: where it was counted as taken, the next had no room."""
    wanted: list[int] = []
    monkeypatch.setattr(engine_state, "LEAST_COPIED_BYTES", 0)
    monkeypatch.setattr(engine_state, "has_room", lambda size: bool(wanted.append(size)))
    with Engine(resumable_model(), ZERO_2, 4, OptimizerConfig(1e-3, steps=6)) as engine:
        engine.copy_state()
        monkeypatch.setattr(engine_state, "kept_host_bytes", lambda: 3000)
        engine.copy_state()
    whole, beside_kept = wanted
    assert beside_kept == whole - 3000


def test_pinned_memory_that_nobody_uses_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept_host_bytes() == 0 or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    stats = {"allocated_bytes.current": 5000, "active_bytes.current": 2000}
    monkeypatch.setattr(torch.cuda, "host_memory_stats", lambda: stats)
    assert kept_host_bytes() == 3000


def killed_and_resumed(folder: Path, snapshots: FolderSnapshots) -> tuple[Any, int]:
    """A training that ends once a snapshot is committed, and one that goes on from that.

    Returns the model, and the step at which the second one began.
    """

    def killed_if_kept() -> bool:
        if FolderSnapshots(folder).latest() is not None:
            raise KilledError
        time.sleep(0.01)  # steps of so few parameters are over before a file is written
        return False

    progress = Progress(snapshots, every_steps=1, leaving=killed_if_kept)
    with pytest.raises(KilledError):
        transfer(resumable_model(), [1, 3], BLOCKS, LONG, 0.5, ZERO_2, progress)
    found = FolderSnapshots(folder).latest()
    assert found is not None
    model = resumable_model()
    again = Progress(FolderSnapshots(folder, "again"))
    transfer(model, [1, 3], BLOCKS, LONG, 0.5, ZERO_2, again)
    return model, found.step


@pytest.mark.usefixtures("tiny_copies")
def test_a_training_resumed_from_one_is_bit_equal(tmp_path: Path) -> None:
    wanted = resumable_model()
    transfer(wanted, [1, 3], BLOCKS, LONG, 0.5, ZERO_2)
    found, begun = killed_and_resumed(tmp_path, FolderSnapshots(tmp_path, "killed"))
    assert 0 < begun < LONG.steps
    assert all(map(torch.equal, found.parameters(), wanted.parameters()))


class Uneven(FolderSnapshots):
    """Snapshots on disks of different speed: rank 1's file is there long after rank 0's."""

    def create(self, step: int, file: str) -> Any:
        time.sleep(0.02 * this_rank())
        return super().create(step, file)

    def commit(self, step: int, files: Any, state: Any) -> None:
        whole = [(self._folder.size(f"{self._name(step)}/{each}"), files[each]) for each in files]
        assert len(whole) == 2
        assert all(there == wanted for there, wanted in whole), "before all files are whole"
        super().commit(step, files, state)


def on_each_rank(folder: Path) -> bool:
    """Whether two ranks, killed and resumed, end with the weights of undisturbed ones."""
    engine_state.LEAST_COPIED_BYTES = 0
    wanted = resumable_model()
    transfer(wanted, [1, 3], BLOCKS, LONG, 0.5, ZERO_2)
    found, begun = killed_and_resumed(folder, Uneven(folder, "killed"))
    assert 0 < begun < LONG.steps
    return all(map(torch.equal, found.parameters(), wanted.parameters()))


@pytest.mark.slow
def test_ranks_of_different_speed_make_whole_snapshots(tmp_path: Path) -> None:
    assert on_ranks(2, on_each_rank, tmp_path) == [True, True]
