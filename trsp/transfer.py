"""Stage two and its controls: train the whole model so that the chosen layers can go (METHOD section 1).

One loop for all: ``drift`` penalises what the chosen layers add, ``anneal`` scales it down to nothing, ``heal`` leaves it out
from the first step, which is training after deletion. The model keeps all its layers; deletion is ``surgery``'s.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trsp.architecture.decoders import decoder_layers
from trsp.architecture.families import check_layers
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
    drift: float | None = 1e-3,
    engine: EngineSettings | None = None,
    progress: Progress | None = None,
    lr_scale: float = 1.0,
) -> TransferRecord:
    """Train ``model`` in place on blocks [N, T] of token ids. ``drift`` is lambda_2 and belongs to ``DriftSettings``.

    ``progress``: where it keeps snapshots, goes on from the last one and hears that it must leave (PreemptedError).
    ``lr_scale``: a factor on the learning rate.

    InvalidInputError, before anything is trained, for layers that cannot be removed; TrainingDivergedError when a loss
    becomes NaN or infinite.
    """
    check_layers(layers, len(decoder_layers(model)))
    if isinstance(settings, NoTransfer):
        return TransferRecord(layers=tuple(layers))
    steps = settings.steps or max(1, len(blocks_NT) // settings.blocks_per_step)
    optimization = OptimizerConfig(
        settings.learning_rate * lr_scale,
        steps,
        round(settings.warmup_ratio * steps),
        settings.weight_decay,
        settings.max_grad_norm,
    )
    training = Training(tuple(layers), blocks_NT, settings, drift or 0.0, steps)
    progress = progress or Progress()
    with (
        adapted(model, settings.lora) as adapters,
        Engine(
            model, engine or EngineSettings(), settings.blocks_per_step, optimization, adapters
        ) as trainer,
    ):
        trained = _resume(trainer, training, progress, lr_scale)
        _train(trainer, training, trained, progress)
    return TransferRecord(
        layers=training.layers,
        lm_loss=tuple(trained.lm_loss),
        drift=tuple(trained.drift),
        branch_scale=tuple(training.scale(step) for step in range(steps)),
        tokens=steps * settings.blocks_per_step * blocks_NT.shape[1],
        rate_scale=lr_scale,
        seconds=trained.seconds,
    )


@dataclass(frozen=True)
class Training:
    """What is trained, on what: equal trainings give equal weights."""

    layers: tuple[int, ...]
    blocks_NT: Tensor
    settings: DriftSettings | HealSettings
    drift: float  # lambda_2
    steps: int

    def scale(self, step: int) -> float:
        """Of the chosen branches."""
        return (
            branch_scale(step, self.steps, self.settings)
            if isinstance(self.settings, DriftSettings)
            else 0.0
        )

    @property
    def subject(self) -> dict[str, Any]:
        """What tells it from another training of the same model."""
        settings = self.settings.model_dump(mode="json", exclude={"preset"})
        return {
            "layers": self.layers,
            "blocks": digest(self.blocks_NT),
            "drift": self.drift,
            **settings,
        }


class Trained:
    """How far a training has come: one loss and drift a step, and the seconds of the attempts before this one."""

    def __init__(
        self, lm_loss: Sequence[float] = (), drift: Sequence[float] = (), seconds: float = 0.0
    ) -> None:
        self.lm_loss, self.drift = list(lm_loss), list(drift)
        self._begun = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def state(self) -> dict[str, Any]:
        return {"lm_loss": self.lm_loss, "drift": self.drift, "seconds": self.seconds}


def _resume(trainer: Engine, training: Training, progress: Progress, lr_scale: float) -> Trained:
    snapshot = progress.begin(training.subject, lr_scale)
    if snapshot is None:
        return Trained()
    progress.restore(snapshot, trainer.load_state)
    return Trained(**snapshot.state)


def _train(trainer: Engine, training: Training, trained: Trained, progress: Progress) -> None:
    """The steps that are left."""
    settings, layers = training.settings, training.layers
    branches = Branches(
        trainer.model,
        layers,
        drift_function(settings) if isinstance(settings, DriftSettings) else None,
    )
    try:
        for step in range(len(trained.lm_loss), training.steps):
            branches.scale = training.scale(step)
            rows = batch(training.blocks_NT, step, settings.blocks_per_step)
            if (
                branches.scale == 0.0
            ):  # the branch is gone: neither compute nor gradient is spent on it
                with bypassed(trainer.model, layers):
                    losses = trainer.step(rows)
            else:
                losses = trainer.step(rows, branches.take_drift, training.drift)
            trained.lm_loss.append(losses.lm)
            trained.drift.append(losses.penalty)
            progress.step_done(step + 1, trainer.save_state, trained.state)
    finally:
        branches.remove()
