"""Stage two and its controls: train the model so that the chosen layers can go.

One loop for all (docs/method.md, section 1): ``drift`` penalises what the chosen layers add,
``anneal`` scales it down to nothing, ``heal`` leaves it out from the first step, which is training
after deletion. The model keeps all its layers; deletion is ``trsp.surgery``'s.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trsp.architecture.decoders import decoder_layers
from trsp.architecture.families import check_layers
from trsp.architecture.limits import check_tokens
from trsp.config import DriftSettings, EngineSettings, HealSettings, NoTransfer
from trsp.engine.engine import Engine
from trsp.engine.optimizer_config import OptimizerConfig
from trsp.gates import Branches
from trsp.losses import branch_scale, drift_function
from trsp.records import TransferRecord
from trsp.surgery import bypassed
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

    InvalidInputError, before anything is trained, for layers that cannot be removed and for blocks
    that this model cannot read;
    TrainingDivergedError when a loss becomes NaN or infinite.
    """
    check_layers(layers, len(decoder_layers(model)))
    if isinstance(settings, NoTransfer):
        return TransferRecord(layers=tuple(layers))
    if drift is None and isinstance(settings, DriftSettings):
        drift = settings.default_strength
    check_tokens(model.config.to_dict(), blocks_NT, "a calibration block")
    training = Training(tuple(layers), blocks_NT, settings, drift or 0.0, lr_scale)
    engine, progress = engine or EngineSettings(), progress or Progress()
    blocks_per_step, optimizer = settings.blocks_per_step, training.optimizer
    with (
        adapted(model, settings.lora) as adapters,
        Engine(model, engine, blocks_per_step, optimizer, adapters) as trainer,
    ):
        trained = _resume(trainer, training, progress)
        _train(trainer, training, trained, progress)
    return _record(training, trained)


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

    The seconds of earlier attempts count.
    """

    def __init__(
        self, lm_loss: Sequence[float] = (), drift: Sequence[float] = (), seconds: float = 0.0
    ) -> None:
        self.lm_loss, self.drift = list(lm_loss), list(drift)
        self._begun = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        """The wall time of all attempts so far."""
        return time.monotonic() - self._begun

    def state(self) -> dict[str, Any]:
        """Return the arguments that make this object again, as JSON, for a snapshot."""
        return {"lm_loss": self.lm_loss, "drift": self.drift, "seconds": self.seconds}


def _resume(trainer: Engine, training: Training, progress: Progress) -> Trained:
    """Return how far the last snapshot had come, with the engine restored to it; else nothing."""
    snapshot = progress.begin(training.identity, training.lr_scale)
    if snapshot is None:
        return Trained()
    progress.restore(snapshot, trainer.load_state)
    return Trained(**snapshot.state)


def _train(trainer: Engine, training: Training, trained: Trained, progress: Progress) -> None:
    """Train the steps that are left, noting each in ``trained``."""
    settings, layers = training.settings, training.layers
    measured = drift_function(settings) if isinstance(settings, DriftSettings) else None
    branches = Branches(trainer.model, layers, measured)
    try:
        for step in range(len(trained.lm_loss), training.steps):
            branches.scale = training.scale(step)
            rows = batch(training.blocks_NT, step, settings.blocks_per_step)
            if branches.scale == 0.0:
                # The branch is gone: neither compute nor gradient is spent on it.
                with bypassed(trainer.model, layers):
                    losses = trainer.step(rows)
            else:
                losses = trainer.step(rows, branches.take_drift, training.drift)
            trained.lm_loss.append(losses.lm)
            trained.drift.append(losses.penalty)
            progress.step_done(step + 1, trainer.save_state, trained.state)
    finally:
        branches.remove()


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
