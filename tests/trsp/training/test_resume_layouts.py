"""A snapshot goes on under any other layout: ranks, ZeRO stages, offload, sharded models."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import LAYERS, save_tiny
from tests.trsp.spawn_ranks import on_ranks
from tests.trsp.training.resumable import (
    BLOCKS,
    DRIFT,
    WAYS,
    after,
    largest_difference,
    never,
    resumable_model,
    this_rank,
    trained,
)
from trsp.distributed.zero3_parameters import whole_tensor
from trsp.engine.load_sharded import load_sharded
from trsp.errors import PreemptedError
from trsp.training.progress import Progress
from trsp.training.snapshots import FolderSnapshots
from trsp.transfer import transfer


def leave_all(folder: Path, source: Path, dtype: torch.dtype) -> list[str]:
    """Rank 1 alone is told to leave, under every layout; return those under which this one left."""
    left = []
    for way in WAYS:
        told = after(3) if this_rank() == 1 else never()
        snapshots = FolderSnapshots(folder / way, "left")
        progress = Progress(snapshots, leaving=lambda told=told: next(told))  # type: ignore[misc]
        try:
            transfer(model_for(way, source, dtype), [1, 3], BLOCKS, DRIFT, 0.5, WAYS[way], progress)
        except PreemptedError:
            left.append(way)
    return left


def resume_all(folder: Path, source: Path, dtype: torch.dtype) -> None:
    """Every snapshot goes on under the layout that comes two places later: always another one."""
    for index, written in enumerate(WAYS):
        way = list(WAYS)[(index + 2) % len(WAYS)]
        model = model_for(way, source, dtype)
        place = folder / f"from {written}"
        if this_rank() == 0:
            shutil.copytree(folder.parent / "left" / written, place)
        progress = Progress(FolderSnapshots(place, "resumed"))
        transfer(model, [1, 3], BLOCKS, DRIFT, 0.5, WAYS[way], progress)
        trained = {name: whole_tensor(parameter) for name, parameter in model.named_parameters()}
        if this_rank() == 0:
            save_file(trained, folder / f"{written}.safetensors")


def model_for(way: str, source: Path, dtype: torch.dtype) -> Any:
    if "sharded" not in way:
        return resumable_model(dtype, LAYERS)
    return load_sharded(
        str(source), precision="bf16" if dtype is torch.bfloat16 else "fp32", engine=WAYS[way]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "readers", "tolerance"),
    [(torch.float32, (1, 4), 1e-5), (torch.bfloat16, (1,), 5e-3)],
    ids=["fp32", "bf16"],
)
def test_a_snapshot_of_two_ranks_goes_on_under_any_layout(
    tmp_path: Path, dtype: torch.dtype, readers: tuple[int, ...], tolerance: float
) -> None:
    """Across ZeRO stages and offload, whole and sharded models: an undisturbed rank's weights."""
    source = save_tiny("llama", tmp_path / "model")
    assert on_ranks(2, leave_all, tmp_path / "left", source, dtype) == [list(WAYS)] * 2
    wanted, _ = trained(WAYS["zero 0"], dtype=dtype, layers=LAYERS)
    for ranks in readers:
        folder = tmp_path / f"on {ranks}"
        folder.mkdir()
        on_ranks(ranks, resume_all, folder, source, dtype)
        found = {
            way: largest_difference(load_file(folder / f"{way}.safetensors"), wanted)
            for way in WAYS
        }
        assert max(found.values()) < tolerance, (ranks, found)
