"""TRSP stage one: learn a gate per layer under an l1 penalty, remove the layer with the smallest, round by round.

Nothing in a round depends on how many rounds will follow: a ranking to depth d is the prefix of any deeper one. A round
starts from the gates that the one before left and from fresh optimizer moments, so a published round is all that a
continuation needs; where weights train too, and within a round, it is a snapshot.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trsp.architecture.decoders import decoder_layers
from trsp.config import EngineSettings, GatesSettings
from trsp.distributed.device import default_device
from trsp.engine.engine import Engine
from trsp.engine.gate_optimizer import GateOptimizer
from trsp.engine.optimizer_config import OptimizerConfig
from trsp.gates import gated
from trsp.losses import gate_l1
from trsp.records import RoundRecord
from trsp.selection.order import candidates
from trsp.surgery import bypassed
from trsp.training.micro_batches import batch
from trsp.training.progress import Progress, digest


@dataclass(frozen=True)
class GateTraining:
    """All that a round needs besides what was removed before it."""

    trainer: Engine
    blocks_NT: Tensor
    settings: GatesSettings
    strength: float  # lambda_1
    progress: Progress
    lr_scale: float = 1.0

    @property
    def steps(self) -> int:
        """Of a round."""
        return self.settings.steps_per_round or max(
            1, len(self.blocks_NT) // self.settings.blocks_per_step
        )

    @property
    def subject(self) -> dict[str, Any]:
        """What tells it from another ranking of the same model; not the depth, nor what was published."""
        settings = self.settings.model_dump(mode="json", exclude={"preset"})
        return {"blocks": digest(self.blocks_NT), "gate_l1": self.strength, **settings}


@dataclass
class Round:
    """A round as far as it has come: ``gate_steps[t]`` are the gates after its step t, ``adam`` what continues them."""

    number: int
    values_L: Tensor  # all gates, as they were when it began
    gate_steps: list[list[float]] = field(default_factory=list)
    lm_loss: list[float] = field(default_factory=list)
    adam: dict[str, list[float]] | None = None
    seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        return {**vars(self), "values_L": self.values_L.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Round":
        return cls(**{**state, "values_L": torch.tensor(state["values_L"])})


def rank_by_gates(
    model: Any,
    blocks_NT: Tensor,
    settings: GatesSettings,
    *,
    strength: float,
    depth: int,
    done: Sequence[RoundRecord] = (),
    engine: EngineSettings | None = None,
    progress: Progress | None = None,
    lr_scale: float = 1.0,
) -> Iterator[RoundRecord]:
    """Rounds ``len(done)`` to ``depth - 1``, each as soon as it is known. ``blocks_NT``: token ids; ``strength``: lambda_1.

    With ``train_weights`` and no snapshot the rounds already done are trained again to restore the weights, but keep their
    choice.
    """
    optimization = None
    if settings.train_weights:
        optimization = OptimizerConfig(
            settings.weights_learning_rate * lr_scale, steps=1, constant=True
        )
    published = list(done)
    with Engine(
        model, engine or EngineSettings(), settings.blocks_per_step, optimization
    ) as trainer:
        training = GateTraining(
            trainer, blocks_NT, settings, strength, progress or Progress(), lr_scale
        )
        current = _resume(training, published) or _first(training, published)
        while current.number < depth:
            record, values_L = _finish(
                training, current, [record.layer for record in published[: current.number]]
            )
            if record.round == len(published):
                published.append(record)
                yield record
            current = Round(
                record.round + 1,
                torch.ones_like(values_L) if settings.reset_each_round else values_L,
            )


def _resume(training: GateTraining, published: Sequence[RoundRecord]) -> Round | None:
    """The round in which a snapshot was taken. One that has been published since is of use only for the weights."""
    snapshot = training.progress.begin(training.subject, training.lr_scale)
    if snapshot is None:
        return None
    found = Round.from_state(snapshot.state)
    last = found.number == len(published)
    if not (last or (training.settings.train_weights and found.number < len(published))):
        return None
    training.progress.restore(snapshot, training.trainer.load_state)
    return found


def _first(training: GateTraining, published: Sequence[RoundRecord]) -> Round:
    """The first round to be trained, with the gates as the published ones left them."""
    values_L = torch.ones(len(decoder_layers(training.trainer.model)))
    if training.settings.train_weights:
        return Round(0, values_L)
    for record in published if not training.settings.reset_each_round else ():
        if record.gate_steps:
            values_L[list(record.gate_layers)] = torch.tensor(record.gate_steps[-1])
    return Round(len(published), values_L)


def _finish(
    training: GateTraining, current: Round, removed: Sequence[int]
) -> tuple[RoundRecord, Tensor]:
    """Learn the gates of what is left over one pass; the candidate with the smallest (signed) goes."""
    begun = time.monotonic() - current.seconds
    model, settings = training.trainer.model, training.settings
    layers = candidates(
        len(current.values_L), removed, settings.protect_first, settings.protect_last
    )
    gates = current.values_L[layers].to(default_device()).requires_grad_()
    optimizer = GateOptimizer(gates, settings.learning_rate * training.lr_scale)
    if current.adam is not None:
        optimizer.restore(current.adam)

    def state() -> dict[str, Any]:
        current.adam, current.seconds = optimizer.state(), time.monotonic() - begun
        return current.state()

    with bypassed(model, removed), gated(model, gates, layers, settings.placement):
        for step in range(len(current.gate_steps), training.steps):
            total = current.number * training.steps + step
            rows = batch(training.blocks_NT, total, settings.blocks_per_step)
            loss = training.trainer.step(
                rows, lambda: gate_l1(gates, 1.0), training.strength, optimizer
            )
            current.gate_steps.append(gates.detach().cpu().tolist())
            current.lm_loss.append(loss.lm)
            training.progress.step_done(total + 1, training.trainer.save_state, state)
    values_L = current.values_L.clone()
    values_L[layers] = gates.detach().cpu()
    return _record(training, current, layers, time.monotonic() - begun), values_L


def _record(
    training: GateTraining, learned: Round, layers: Sequence[int], seconds: float
) -> RoundRecord:
    average = training.settings.average_steps
    deciding = (
        torch.tensor(learned.gate_steps).mean(0).tolist() if average else learned.gate_steps[-1]
    )
    return RoundRecord(
        round=learned.number,
        layer=min(zip(deciding, layers, strict=True))[1],
        scores=dict(zip(layers, deciding, strict=True)),
        gate_layers=tuple(layers),
        gate_steps=tuple(tuple(step) for step in learned.gate_steps),
        lm_loss=tuple(learned.lm_loss),
        rate_scale=training.lr_scale,
        seconds=seconds,
    )
