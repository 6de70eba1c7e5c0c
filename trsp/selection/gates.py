"""TRSP stage one: learn a gate per layer under an l1 penalty, remove the layer with the smallest, round by round.

Nothing in a round depends on how many rounds will follow: a ranking to depth d is the prefix of any deeper one. A round
starts from the gates that the one before left and from fresh optimizer moments, so a published round is all that a
continuation needs.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trsp.config import EngineSettings, GatesSettings
from trsp.decoders import decoder_layers
from trsp.device import default_device
from trsp.engine import Engine, GateOptimizer, Optimization, batch
from trsp.gates import gated
from trsp.penalties import gate_l1
from trsp.records import RoundRecord
from trsp.selection.order import candidates
from trsp.surgery import bypassed


@dataclass(frozen=True)
class GateTraining:
    """All that a round needs besides what was removed before it."""

    trainer: Engine
    blocks_NT: Tensor
    settings: GatesSettings
    strength: float  # lambda_1

    @property
    def steps(self) -> int:
        return self.settings.steps_per_round or max(1, len(self.blocks_NT) // self.settings.blocks_per_step)


def rank_by_gates(
    model: Any,
    blocks_NT: Tensor,
    settings: GatesSettings,
    *,
    strength: float,
    depth: int,
    done: Sequence[RoundRecord] = (),
    engine: EngineSettings | None = None,
) -> Iterator[RoundRecord]:
    """Rounds ``len(done)`` to ``depth - 1``, each as soon as it is known. ``blocks_NT``: token ids; ``strength``: lambda_1.

    With ``train_weights`` the rounds already done are trained again to restore the weights, but keep their choice.
    """
    optimization = None
    if settings.train_weights:
        optimization = Optimization(settings.weights_learning_rate, steps=1, constant=True)
    published = list(done)
    values = torch.ones(len(decoder_layers(model)))
    with Engine(model, engine or EngineSettings(), settings.blocks_per_step, optimization) as trainer:
        training = GateTraining(trainer, blocks_NT, settings, strength)
        for number in range(depth):
            removed = [record.layer for record in published[:number]]
            if number < len(published) and not settings.train_weights:
                values = _restore(values, published[number])
                continue
            if settings.reset_each_round:
                values = torch.ones_like(values)
            record, values = _round(training, number, removed, values)
            if number >= len(published):
                published.append(record)
                yield record


def _restore(values_L: Tensor, record: RoundRecord) -> Tensor:
    """The gates as the published round left them."""
    values_L = values_L.clone()
    if record.gate_steps:
        values_L[list(record.gate_layers)] = torch.tensor(record.gate_steps[-1])
    return values_L


def _round(training: GateTraining, number: int, removed: Sequence[int], values_L: Tensor) -> tuple[RoundRecord, Tensor]:
    """Learn the gates of what is left over one pass; the candidate with the smallest (signed) goes."""
    started = time.monotonic()
    model, settings = training.trainer.model, training.settings
    layers = candidates(len(values_L), removed, settings.protect_first, settings.protect_last)
    gates = values_L[layers].to(default_device()).requires_grad_()
    optimizer = GateOptimizer(gates, settings.learning_rate)
    trajectory: list[list[float]] = []
    losses: list[float] = []
    with bypassed(model, removed), gated(model, gates, layers, settings.placement):
        for step in range(training.steps):
            rows = batch(training.blocks_NT, number * training.steps + step, settings.blocks_per_step)
            loss = training.trainer.step(rows, lambda: gate_l1(gates, 1.0), training.strength, optimizer)
            trajectory.append(gates.detach().cpu().tolist())
            losses.append(loss.lm)
    values_L = values_L.clone()
    values_L[layers] = gates.detach().cpu()
    deciding = torch.tensor(trajectory).mean(0).tolist() if settings.average_steps else trajectory[-1]
    record = RoundRecord(
        round=number,
        layer=min(zip(deciding, layers, strict=True))[1],
        scores=dict(zip(layers, deciding, strict=True)),
        gate_layers=tuple(layers),
        gate_steps=tuple(tuple(step) for step in trajectory),
        lm_loss=tuple(losses),
        seconds=time.monotonic() - started,
    )
    return record, values_L
