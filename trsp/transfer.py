"""Stage two and its controls: train the model so that the chosen layers can go.

One loop for all (docs/method.md, section 1): ``drift`` penalises what the chosen layers add,
``anneal`` scales it down to nothing, ``heal`` leaves it out from the first step, which is training
after deletion. The model keeps all its layers; deletion is ``trsp.surgery``'s.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from trsp.architecture.decoders import decoder_layers
from trsp.architecture.families import check_layers
from trsp.architecture.limits import check_tokens
from trsp.config import DriftSettings, EngineSettings, HealSettings, NoTransfer
from trsp.config.engine import lora_refusal
from trsp.engine.engine import Engine, StepLosses
from trsp.engine.optimizer_config import OptimizerConfig
from trsp.errors import InvalidInputError
from trsp.gates import Branches
from trsp.losses import branch_scale, check_rate_scale, check_strength, drift_function
from trsp.progress_lines import tick
from trsp.records import TransferRecord
from trsp.surgery import bypassed
from trsp.training.divergence import WINDOW, check_losses, check_weights, unpaid
from trsp.training.lora import adapted
from trsp.training.micro_batches import batch
from trsp.training.progress import Progress, digest


def transfer(
    model: Any,
    layers: Sequence[int],
    blocks_NT: Tensor,
    settings: NoTransfer | DriftSettings | HealSettings,
    drift: float | None = None,
    engine: EngineSettings | None = None,
    progress: Progress | None = None,
    lr_scale: float = 1.0,
) -> TransferRecord:
    """Train ``model`` in place on blocks [N, T] of token ids, and return losses, drifts and cost.

    ``drift`` is lambda_2 and belongs to ``DriftSettings``, whose ``default_strength`` stands for
    None; ``lr_scale`` is a factor on the learning rate. ``progress``, where it keeps snapshots,
    goes on from the last one and hears that it must leave (PreemptedError).

    InvalidInputError, before anything is trained, for layers that cannot be removed, for blocks
    that this model cannot read, for a strength below 0 or none, and for an ``engine`` that cannot
    train it; TrainingDivergedError when a loss, gradient or weight becomes NaN or infinite, or the
    loss rises as far as docs/method.md, section 6, says.
    """
    check_layers(layers, len(decoder_layers(model)))
    if isinstance(settings, NoTransfer):
        return TransferRecord(layers=tuple(layers))
    check_strength("drift", 0.0 if drift is None else drift)
    check_rate_scale(lr_scale)
    check_tokens(model.config.to_dict(), blocks_NT, "a calibration block")
    if drift is None and isinstance(settings, DriftSettings):
        drift = settings.default_strength
    training = Training(tuple(layers), blocks_NT, settings, drift or 0.0, lr_scale)
    engine, progress = engine or EngineSettings(), progress or Progress()
    blocks_per_step, optimizer = settings.blocks_per_step, training.optimizer
    if settings.lora and (refusal := lora_refusal(engine)):
        raise InvalidInputError(refusal)
    with (
        adapted(model, settings.lora) as adapters,
        Engine(
            model, engine, blocks_per_step, optimizer, _learning(model, training, adapters)
        ) as trainer,
        progress,
    ):
        trained = _resume(trainer, training, progress)
        _train(trainer, training, trained, progress)
    check_weights(model)
    return _record(training, trained)


def _learning(
    model: Any, training: "Training", adapters: Sequence[nn.Parameter] | None
) -> list[nn.Parameter]:
    """Return the parameters that learn: the adapters, or all; none of layers that are gone already.

    Those get no gradient, so the others and the gradient's norm are the same as with them; masters
    and moments of theirs would only take memory.
    """
    learning = list(model.parameters()) if adapters is None else list(adapters)
    if training.scale(0) > 0.0:
        return learning
    stack = decoder_layers(model)
    gone = {each for layer in training.layers for each in stack[layer].parameters()}
    return [each for each in learning if each not in gone]


@dataclass(frozen=True)
class Training:
    """What is trained, on what: equal trainings give equal weights."""

    layers: tuple[int, ...]  # the chosen ones, 0-based
    blocks_NT: Tensor
    settings: DriftSettings | HealSettings
    drift: float  # lambda_2
    lr_scale: float = 1.0

    @property
    def steps(self) -> int:
        """The optimizer steps: by default one pass over the blocks."""
        one_pass = max(1, len(self.blocks_NT) // self.settings.blocks_per_step)
        return self.settings.steps or one_pass

    @property
    def optimizer(self) -> OptimizerConfig:
        """The optimizer of the weights and its schedule."""
        return OptimizerConfig(
            learning_rate=self.settings.learning_rate * self.lr_scale,
            steps=self.steps,
            warmup_steps=round(self.settings.warmup_ratio * self.steps),
            weight_decay=self.settings.weight_decay,
            max_grad_norm=self.settings.max_grad_norm,
        )

    def scale(self, step: int) -> float:
        """Return the scale of the chosen branches at ``step``, 0 to 1."""
        if isinstance(self.settings, DriftSettings):
            return branch_scale(step, self.steps, self.settings)
        return 0.0

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this training from another of the same model, as JSON."""
        settings = self.settings.model_dump(mode="json", exclude={"preset"})
        return {
            "layers": self.layers,
            "blocks": digest(self.blocks_NT),
            "drift": self.drift,
            **settings,
        }


class Trained:
    """How far a training has come: one loss and one drift per step, and the seconds it has taken.

    The seconds of earlier attempts count. ``start`` is the LM loss of the first batch before any
    step, with the chosen layers or without them, whichever is the larger; None where it is not
    known, in what snapshots of older versions left.
    """

    def __init__(
        self,
        lm_loss: Sequence[float] = (),
        drift: Sequence[float] = (),
        seconds: float = 0.0,
        start: float | None = None,
    ) -> None:
        self.lm_loss, self.drift, self.start = list(lm_loss), list(drift), start
        self._begun = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        """The wall time of all attempts so far."""
        return time.monotonic() - self._begun

    def note(self, losses: StepLosses, without_layers: float | None) -> None:
        """Add a step; of the first one, the loss ``without_layers`` may be known too."""
        if not self.lm_loss:
            self.start = max(losses.lm, without_layers or losses.lm)
        self.lm_loss.append(losses.lm)
        self.drift.append(losses.penalty)

    def state(self) -> dict[str, Any]:
        """Return the arguments that make this object again, as JSON, for a snapshot."""
        return {
            "lm_loss": self.lm_loss,
            "drift": self.drift,
            "seconds": self.seconds,
            "start": self.start,
        }

    def unpaid_losses(self, training: Training) -> list[float]:
        """Return the LM losses of the last steps that their lower drift does not account for.

        Nothing is paid for where the layers are gone and no drift is measured.
        """
        first, steps = training.drift * self.drift[0], len(self.lm_loss)
        return [
            unpaid(
                self.lm_loss[step],
                first,
                training.drift * self.drift[step] if training.scale(step) else first,
            )
            for step in range(max(0, steps - WINDOW), steps)
        ]


def _resume(trainer: Engine, training: Training, progress: Progress) -> Trained:
    """Return how far the last snapshot had come, with the engine restored to it; else nothing."""
    snapshot = progress.begin(training.identity, training.lr_scale)
    if snapshot is None:
        return Trained()
    progress.restore(snapshot, trainer.load_state)
    return Trained(**snapshot.state)


def _train(trainer: Engine, training: Training, trained: Trained, progress: Progress) -> None:
    """Train the steps that are left, noting each in ``trained``."""
    settings = training.settings
    measured = drift_function(settings) if isinstance(settings, DriftSettings) else None
    without = _loss_without_layers(trainer, training) if not trained.lm_loss else None
    branches = Branches(trainer.model, training.layers, measured)
    try:
        for step in range(len(trained.lm_loss), training.steps):
            losses = _step(trainer, training, branches, step)
            trained.note(losses, without)
            if trained.start is not None:
                recent, vocabulary = trained.unpaid_losses(training), trainer.vocabulary
                check_losses(step + 1, recent, trained.start, vocabulary)
            progress.step_done(step + 1, trainer.save_state, trained.state, trainer.copy_state)
            tick(step + 1, training.steps, loss=losses.lm)
    finally:
        branches.remove()


def _step(trainer: Engine, training: Training, branches: Branches, step: int) -> StepLosses:
    """Train one step under its branch scale."""
    branches.scale = training.scale(step)
    rows = batch(training.blocks_NT, step, training.settings.blocks_per_step)
    if branches.scale == 0.0:
        # The branch is gone: neither compute nor gradient is spent on it.
        with bypassed(trainer.model, training.layers):
            return trainer.step(rows)
    return trainer.step(rows, branches.take_drift, training.drift)


def _loss_without_layers(trainer: Engine, training: Training) -> float | None:
    """Return the first batch's LM loss without the chosen layers, before any step.

    Annealing may bring the loss as far as that: it is no divergence. None without annealing.
    """
    if not 0.0 < training.scale(0) < 1.0:
        return None
    rows = batch(training.blocks_NT, 0, training.settings.blocks_per_step)
    with bypassed(trainer.model, training.layers):
        return trainer.loss(rows)


def _record(training: Training, trained: Trained) -> TransferRecord:
    """Return the record of a finished training."""
    blocks = training.steps * training.settings.blocks_per_step
    return TransferRecord(
        layers=training.layers,
        lm_loss=tuple(trained.lm_loss),
        drift=tuple(trained.drift),
        branch_scale=tuple(training.scale(step) for step in range(training.steps)),
        tokens=blocks * training.blocks_NT.shape[1],
        rate_scale=training.lr_scale,
        seconds=trained.seconds,
    )
