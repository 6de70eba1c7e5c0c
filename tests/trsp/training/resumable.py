"""Trainings that may be told to leave and go on from snapshots, and what is compared of them."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.tiny import tiny_model
from trsp.config import DriftSettings, EngineSettings, HealSettings
from trsp.training.progress import Progress
from trsp.training.snapshots import FolderSnapshots
from trsp.transfer import transfer

BLOCKS = torch.randint(0, 256, (8, 24), generator=torch.Generator().manual_seed(0))
DRIFT = DriftSettings(
    learning_rate=1e-3, blocks_per_step=4, steps=6, max_grad_norm=0.5, weight_decay=0.1
)
WAYS = {
    "zero 0": EngineSettings(zero_stage=0),
    "zero 1": EngineSettings(zero_stage=1, micro_batch=2),
    "zero 2, offload": EngineSettings(zero_stage=2, offload_optimizer="cpu"),
    "zero 3": EngineSettings(zero_stage=3),
    "zero 3, offload, sharded": EngineSettings(
        zero_stage=3, offload_optimizer="cpu", offload_weights="cpu"
    ),
}
ZERO_2 = EngineSettings(zero_stage=2)
FEW_LAYERS = 4  # enough where a training is compared with itself, and quicker


def resumable_model(dtype: torch.dtype = torch.float32, layers: int = FEW_LAYERS) -> Any:
    return tiny_model("llama", layers, dtype=dtype)


def never() -> Iterator[bool]:
    return itertools.repeat(False)


def after(steps: int) -> Iterator[bool]:
    """Whether a rank must leave, step for step: it must after so many steps."""
    return itertools.chain(itertools.repeat(False, steps - 1), itertools.repeat(True))


def weights(model: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def largest_difference(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """The norm of the difference by the norm, of the parameter where it is largest."""
    assert found.keys() == wanted.keys()
    return max(
        float((found[name].float() - wanted[name].float()).norm() / wanted[name].float().norm())
        for name in wanted
    )


def trained(
    way: EngineSettings,
    place: Path | None = None,
    told: Iterator[bool] | None = None,
    dtype: torch.dtype = torch.float32,
    settings: DriftSettings | HealSettings = DRIFT,
    layers: int = FEW_LAYERS,
) -> tuple[dict[str, Tensor], Any]:
    """Weights and record of a training, which goes on from snapshots in ``place`` if there are any.

    ``told`` yields, step for step, whether it must leave.
    """
    told = told or never()
    model = resumable_model(dtype, layers)
    snapshots = None if place is None else FolderSnapshots(place)
    record = transfer(
        model, [1, 3], BLOCKS, settings, 0.5, way, Progress(snapshots, leaving=lambda: next(told))
    )
    return weights(model), record


def this_rank() -> int:
    """This process's rank, also before there is a group."""
    return int(os.environ["RANK"])
