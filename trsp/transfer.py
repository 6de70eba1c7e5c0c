"""Stage two and its controls: train the whole model so that the chosen layers can go (METHOD section 1).

One loop for all: ``drift`` penalises what the chosen layers add, ``anneal`` scales it down to nothing, ``heal`` leaves it out
from the first step, which is training after deletion. The model keeps all its layers; deletion is ``surgery``'s.
"""

import time
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from trsp.config import DriftSettings, EngineSettings, HealSettings, NoTransfer
from trsp.decoders import decoder_layers
from trsp.engine import Engine, Optimization, StepLosses, batch
from trsp.families import check_layers
from trsp.gates import Branches
from trsp.penalties import branch_scale, drift_function
from trsp.progress import Progress
from trsp.records import TransferRecord
from trsp.surgery import bypassed


def transfer(
    model: Any,
    layers: Sequence[int],
    blocks_NT: Tensor,
    settings: NoTransfer | DriftSettings | HealSettings,
    drift: float | None = 1e-3,
    engine: EngineSettings | None = None,
    progress: Progress | None = None,
    rate_scale: float = 1.0,
) -> TransferRecord:
    """Train ``model`` in place on blocks [N, T] of token ids. ``drift`` is lambda_2 and belongs to ``DriftSettings``.

    ``progress``: where it keeps snapshots, goes on from the last one and hears that it must leave (PreemptedError).
    ``rate_scale``: a factor on the learning rate.

    InvalidInputError, before anything is trained, for layers that cannot be removed; TrainingDivergedError when a loss
    becomes NaN or infinite.
    """
    check_layers(layers, len(decoder_layers(model)))
    if isinstance(settings, NoTransfer):
        return TransferRecord(layers=tuple(layers))
    started = time.monotonic()
    steps = settings.steps or max(1, len(blocks_NT) // settings.blocks_per_step)
    optimization = Optimization(
        settings.learning_rate * rate_scale, steps, round(settings.warmup_ratio * steps), settings.weight_decay, settings.max_grad_norm
    )
    scales = [_scale(step, steps, settings) for step in range(steps)]
    with Engine(model, engine or EngineSettings(), settings.blocks_per_step, optimization) as trainer:
        losses = _train(trainer, layers, blocks_NT, settings, scales, drift or 0.0)
    return TransferRecord(
        layers=tuple(layers),
        lm_loss=tuple(loss.lm for loss in losses),
        drift=tuple(loss.penalty for loss in losses),
        branch_scale=tuple(scales),
        tokens=steps * settings.blocks_per_step * blocks_NT.shape[1],
        rate_scale=rate_scale,
        seconds=time.monotonic() - started,
    )


def _train(
    trainer: Engine,
    layers: Sequence[int],
    blocks_NT: Tensor,
    settings: DriftSettings | HealSettings,
    scales: Sequence[float],
    drift: float,
) -> list[StepLosses]:
    """One step for every scale of the chosen branches."""
    branches = Branches(trainer.model, layers, drift_function(settings) if isinstance(settings, DriftSettings) else None)
    losses: list[StepLosses] = []
    try:
        for step, scale in enumerate(scales):
            branches.scale = scale
            rows = batch(blocks_NT, step, settings.blocks_per_step)
            if scale == 0.0:  # the branch is gone: neither compute nor gradient is spent on it
                with bypassed(trainer.model, layers):
                    losses.append(trainer.step(rows))
            else:
                losses.append(trainer.step(rows, branches.take_drift, drift))
    finally:
        branches.remove()
    return losses


def _scale(step: int, steps: int, settings: DriftSettings | HealSettings) -> float:
    return branch_scale(step, steps, settings) if isinstance(settings, DriftSettings) else 0.0
