"""TRSP stage one: learn a gate per layer under an l1 penalty and remove the smallest, by rounds.

Nothing in a round depends on how many rounds will follow: a ranking to depth d is the prefix of
any deeper one. A round starts from the gates that the one before left and from fresh optimizer
moments, so a published round is all that a continuation needs; where weights train too, and within
a round, it is a snapshot. The loss is that of docs/method.md, section 1.
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
from trsp.progress_lines import tick
from trsp.records import RoundRecord
from trsp.selection.order import candidates, require_finite
from trsp.surgery import bypassed
from trsp.training.divergence import WINDOW, check_losses, check_weights, unpaid
from trsp.training.micro_batches import batch
from trsp.training.progress import Progress, digest


@dataclass(frozen=True)
class GateTraining:
    """How gates are learned: on blocks [N, T] of token ids, by ``settings``, the same every round.

    ``engine`` says how steps are computed (default: ``EngineSettings()``). ``progress`` keeps
    snapshots, goes on from the last one and hears that it must leave (PreemptedError).
    """

    blocks_NT: Tensor
    settings: GatesSettings
    strength: float  # lambda_1
    engine: EngineSettings | None = None
    progress: Progress | None = None
    lr_scale: float = 1.0  # factor on the settings' learning rates

    @property
    def steps(self) -> int:
        """The optimizer steps of one round: by default one pass over the blocks."""
        one_pass = max(1, len(self.blocks_NT) // self.settings.blocks_per_step)
        return self.settings.steps_per_round or one_pass

    @property
    def weights_optimizer(self) -> OptimizerConfig | None:
        """The optimizer of the model's weights; None where they are frozen."""
        if not self.settings.train_weights:
            return None
        rate = self.settings.weights_learning_rate * self.lr_scale
        return OptimizerConfig(rate, steps=1, constant=True)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this ranking from another of the same model, as JSON.

        Neither the depth nor what was published belongs to it.
        """
        settings = self.settings.model_dump(mode="json", exclude={"preset"})
        return {"blocks": digest(self.blocks_NT), "gate_l1": self.strength, **settings}


@dataclass
class Round:
    """A round as far as it has come."""

    number: int
    values_L: Tensor  # all gates, as they were when the round began
    gate_steps: list[list[float]] = field(default_factory=list)  # [t]: the gates after step t
    lm_loss: list[float] = field(default_factory=list)  # one per step, in nats per token
    adam: dict[str, list[float]] | None = None  # the optimizer's state; None before a first step
    seconds: float = 0.0

    def unpaid_losses(self, layers: Sequence[int], strength: float) -> list[float]:
        """Return the LM losses of the last steps that smaller gates do not account for.

        ``layers`` are those with a gate, ``strength`` is lambda_1.
        """
        before = [self.values_L[list(layers)].tolist(), *self.gate_steps]  # [t]: the gates at t
        first, steps = strength * sum(map(abs, before[0])), len(self.lm_loss)
        return [
            unpaid(self.lm_loss[step], first, strength * sum(map(abs, before[step])))
            for step in range(max(0, steps - WINDOW), steps)
        ]

    def state(self) -> dict[str, Any]:
        """Return the round as JSON, for a snapshot."""
        return {**vars(self), "values_L": self.values_L.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Round":
        """Return the round that ``state`` was taken of."""
        return cls(**{**state, "values_L": torch.tensor(state["values_L"])})


def rank_by_gates(
    model: Any, training: GateTraining, *, depth: int, done: Sequence[RoundRecord] = ()
) -> Iterator[RoundRecord]:
    """Yield rounds ``len(done)`` to ``depth - 1``, each as soon as it is known.

    Where weights train and there is no snapshot, the rounds already ``done`` are trained again to
    restore the weights, but keep their choice.
    """
    settings, published = training.settings, list(done)
    engine = training.engine or EngineSettings()
    progress = training.progress or Progress()
    with (
        Engine(model, engine, settings.blocks_per_step, training.weights_optimizer) as trainer,
        progress,
    ):
        learner = _Learner(trainer, training, depth, progress)
        current = learner.resume(published) or learner.first_round(published)
        while current.number < depth:
            removed = [record.layer for record in published[: current.number]]
            record, values_L = learner.finish(current, removed)
            if record.round == len(published):
                published.append(record)
                yield record
            if settings.reset_each_round:
                values_L = torch.ones_like(values_L)
            current = Round(record.round + 1, values_L)


class _Learner:
    """An engine that learns the gates of one round after the other, ``depth`` in all."""

    def __init__(
        self, trainer: Engine, training: GateTraining, depth: int, progress: Progress
    ) -> None:
        self._trainer, self._training, self._depth = trainer, training, depth
        self._progress = progress

    def resume(self, published: Sequence[RoundRecord]) -> Round | None:
        """Return the round in which a snapshot was taken, with the engine restored to it, or None.

        One that has been published since is of use only for the weights.
        """
        training = self._training
        snapshot = self._progress.begin(training.identity, training.lr_scale)
        if snapshot is None:
            return None
        current = Round.from_state(snapshot.state)
        is_next = current.number == len(published)
        before_next = current.number < len(published)
        if not (is_next or (training.settings.train_weights and before_next)):
            return None
        self._progress.restore(snapshot, self._trainer.load_state)
        return current

    def first_round(self, published: Sequence[RoundRecord]) -> Round:
        """Return the first round to be trained, with the gates as the published ones left them."""
        settings = self._training.settings
        values_L = torch.ones(len(decoder_layers(self._trainer.model)))
        if settings.train_weights:
            return Round(0, values_L)
        for record in published:
            if record.gate_steps and not settings.reset_each_round:
                values_L[list(record.gate_layers)] = torch.tensor(record.gate_steps[-1])
        return Round(len(published), values_L)

    def finish(self, current: Round, removed: Sequence[int]) -> tuple[RoundRecord, Tensor]:
        """Learn the gates of the layers left to the round's end; return its record and all gates.

        The gates come back as [L]: those of removed and protected layers as they were.
        """
        begun = time.monotonic() - current.seconds
        settings, values_L = self._training.settings, current.values_L.clone()
        layers = candidates(len(values_L), removed, settings.protect_first, settings.protect_last)
        optimizer = self._optimizer(current, layers)
        with (
            bypassed(self._trainer.model, removed),
            gated(self._trainer.model, optimizer.gates, layers, settings.placement),
        ):
            for step in range(len(current.gate_steps), self._training.steps):
                self._step(current, step, optimizer, begun)
                self._check(current, layers)
        if settings.train_weights:
            check_weights(self._trainer.model)
        values_L[layers] = optimizer.gates.detach().cpu()
        return self._record(current, layers, time.monotonic() - begun), values_L

    def _check(self, current: Round, layers: Sequence[int]) -> None:
        """Raise TrainingDivergedError by the losses of the round so far."""
        recent = current.unpaid_losses(layers, self._training.strength)
        start = current.lm_loss[0]
        check_losses(len(current.lm_loss), recent, start, self._trainer.vocabulary)

    def _optimizer(self, current: Round, layers: Sequence[int]) -> GateOptimizer:
        """Return the optimizer of the gates of ``layers``, as far as the round has come."""
        gates = current.values_L[layers].to(default_device()).requires_grad_()
        rate = self._training.settings.learning_rate * self._training.lr_scale
        optimizer = GateOptimizer(gates, rate)
        if current.adam is not None:
            optimizer.restore(current.adam)
        return optimizer

    def _step(self, current: Round, step: int, optimizer: GateOptimizer, begun: float) -> None:
        """Train one step, note it in ``current`` and take a snapshot where one is due."""
        training, gates = self._training, optimizer.gates
        total = current.number * training.steps + step
        rows = batch(training.blocks_NT, total, training.settings.blocks_per_step)
        loss = self._trainer.step(rows, lambda: gate_l1(gates, 1.0), training.strength, optimizer)
        current.gate_steps.append(gates.detach().cpu().tolist())
        current.lm_loss.append(loss.lm)

        def state() -> dict[str, Any]:
            current.adam, current.seconds = optimizer.state(), time.monotonic() - begun
            return current.state()

        trainer = self._trainer
        self._progress.step_done(total + 1, trainer.save_state, state, trainer.copy_state)
        within = f"round {current.number + 1} of {self._depth}"
        tick(step + 1, training.steps, loss=loss.lm, within=within)

    def _record(self, learned: Round, layers: Sequence[int], seconds: float) -> RoundRecord:
        """Return the record of a round: the layer with the smallest (signed) gate goes."""
        deciding = learned.gate_steps[-1]
        if self._training.settings.average_steps:
            deciding = torch.tensor(learned.gate_steps).mean(0).tolist()
        scores = dict(zip(layers, deciding, strict=True))
        require_finite(scores)
        return RoundRecord(
            round=learned.number,
            layer=min(zip(deciding, layers, strict=True))[1],
            scores=scores,
            gate_layers=tuple(layers),
            gate_steps=tuple(tuple(step) for step in learned.gate_steps),
            lm_loss=tuple(learned.lm_loss),
            rate_scale=self._training.lr_scale,
            seconds=seconds,
        )
