"""When a training has diverged: the rule of docs/method.md, section 6, and finite weights.

Steps with a loss or gradient that is no number are the engine's to notice.
"""

import math
from collections.abc import Sequence
from statistics import fmean

from torch import nn

from trsp.distributed.finite_weights import nonfinite_parameters
from trsp.errors import TrainingDivergedError

WINDOW = 3  # steps that the loss is averaged over: a batch that is hard is no divergence
LEAST_RISE = 2.0  # nats per token, for models that begin about as bad as a guess


def largest_loss(start: float, vocabulary: int) -> float:
    """Return the LM loss, in nats per token, above which a training has diverged.

    ``start`` is the loss that it began at. A model knows ln(vocabulary) - start nats per token more
    than a uniform guess; half of that may be lost.
    """
    return start + max(LEAST_RISE, abs(math.log(vocabulary) - start) / 2)


def has_diverged(losses: Sequence[float], start: float, vocabulary: int) -> bool:
    """Whether the mean of the last ``WINDOW`` losses is above ``largest_loss``.

    ``losses`` are those of the last steps, as ``unpaid`` gives them; fewer than ``WINDOW`` tell
    nothing.
    """
    recent = losses[-WINDOW:]
    return len(recent) == WINDOW and fmean(recent) > largest_loss(start, vocabulary)


def unpaid(lm_loss: float, first_penalty: float, penalty: float) -> float:
    """Return a step's LM loss without what it has paid for a lower penalty.

    Penalties are weighted. A training minimises loss + penalty: a loss that rises by no more than
    the penalty has fallen since the first step is the optimizer at work.
    """
    return lm_loss - max(0.0, first_penalty - penalty)


def check_losses(step: int, losses: Sequence[float], start: float, vocabulary: int) -> None:
    """Raise TrainingDivergedError where, after ``step`` steps, ``has_diverged``.

    Losses are equal on all ranks, and so is the answer.
    """
    if has_diverged(losses, start, vocabulary):
        raise TrainingDivergedError(
            f"step {step}: the LM loss is {fmean(losses[-WINDOW:]):.2f} nats per token on "
            f"average over {WINDOW} steps; it began at {start:.2f}, and above "
            f"{largest_loss(start, vocabulary):.2f} half of what the model knows beyond a uniform "
            f"guess ({math.log(vocabulary):.2f}) is lost; lower the learning rate"
        )


def check_weights(model: nn.Module) -> None:
    """Raise TrainingDivergedError, on all ranks together, unless all weights are finite."""
    if broken := nonfinite_parameters(model):
        raise TrainingDivergedError(
            f"{len(broken)} of the model's parameters hold NaN or infinite values after training, "
            f"the first is {broken[0]}; lower the learning rate"
        )
