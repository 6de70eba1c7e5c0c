"""Losses and penalties as plain tensor functions (docs/method.md, sections 1 and 2). No models.

Shapes: B sequences, T tokens, D hidden width, V vocabulary, N predicted tokens. ``x`` is a layer's
input and ``y`` its output, [B, T, D]. Every loss is an fp32 scalar.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from trsp.chunk_sizes import logits_at_once
from trsp.config import DriftSettings
from trsp.errors import InvalidInputError


def check_strength(name: str, value: float) -> None:
    """Raise InvalidInputError unless a penalty's strength is a finite number, at least 0.

    A negative one would reward what it is to penalise.
    """
    if not (math.isfinite(value) and value >= 0):
        raise InvalidInputError(f"{name} is {value}; a strength is a finite number, at least 0")


def check_rate_scale(value: float) -> None:
    """Raise InvalidInputError unless a factor on learning rates is finite and above 0."""
    if not (math.isfinite(value) and value > 0):
        raise InvalidInputError(f"lr_scale is {value}; a factor on rates is finite and above 0")


def lm_loss(logits_BTV: Tensor, tokens_BT: Tensor) -> Tensor:
    """Return L(W, X): the mean cross-entropy over all B * (T - 1) predicted tokens, in nats.

    It is computed in fp32, in chunks that the backward pass computes again: whole, the fp32 logits
    and their softmax would be the largest tensors of a step (2 GB each for 2048 tokens of a
    vocabulary of 262144). The tokens may lie elsewhere than the logits.
    """
    logits_NV = logits_BTV[:, :-1].flatten(0, 1)
    targets_N = tokens_BT[:, 1:].flatten().to(logits_NV.device)
    on_gpu = logits_NV.device.type != "cpu"
    at_once = max(1, logits_at_once(on_gpu=on_gpu) // logits_NV.shape[-1])
    chunks = zip(logits_NV.split(at_once), targets_N.split(at_once), strict=True)
    sums = [
        checkpoint(_summed_nll, logits, targets, use_reentrant=False) for logits, targets in chunks
    ]
    return torch.stack(sums).sum() / len(targets_N)


def _summed_nll(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    return functional.cross_entropy(logits_NV.float(), targets_N, reduction="sum")


def gate_l1(gates: Tensor, strength: float) -> Tensor:
    """Return lambda_1 * sum over i of |s_i|, where ``strength`` is lambda_1 (TRSP stage one)."""
    return strength * gates.abs().sum()


def l2_drift(x_BTD: Tensor, y_BTD: Tensor, *, relative: bool) -> Tensor:
    """Return the l2 norm of what a layer adds (TRSP stage two).

    Absolute: mean over B of ||y - x||, the Frobenius norm of each sequence's [T, D] difference.
    Relative: mean over B * T of ||y_t - x_t|| / ||x_t||, each token by its own input. Not the ratio
    of the two Frobenius norms: a few tokens with massive activations (attention sinks) make up
    nearly all of the input's.
    """
    dims = -1 if relative else (1, 2)
    norms: Tensor = torch.linalg.vector_norm(y_BTD - x_BTD, dim=dims, dtype=torch.float32)
    if relative:
        norms = norms / torch.linalg.vector_norm(x_BTD.detach(), dim=dims, dtype=torch.float32)
    return norms.mean()


def l1_drift(x_BTD: Tensor, y_BTD: Tensor, *, relative: bool) -> Tensor:
    """Return mean |y - x| over B * T * D.

    Relative: mean over B * T of each token's mean |y_t - x_t| / mean |x_t|.
    """
    drift_BT = (y_BTD - x_BTD).abs().mean(dim=-1, dtype=torch.float32)
    if relative:
        drift_BT = drift_BT / x_BTD.detach().abs().mean(dim=-1, dtype=torch.float32)
    return drift_BT.mean()


def drift_function(settings: DriftSettings) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the drift ``(x, y) -> scalar`` that the settings name.

    The divisor of a relative drift carries no gradient: it cannot be gamed.
    """
    function = l2_drift if settings.norm == "l2" else l1_drift
    return partial(function, relative=settings.drift_scale == "relative")


def branch_scale(step: int, steps: int, settings: DriftSettings) -> float:
    """Return the scale of the chosen branches at step 0 to ``steps - 1`` (docs/annealing.md).

    It is 1 without annealing, else it goes linearly down to 0 and is held there. The first step is
    already below 1 and the last is always at 0, so that deletion after it changes nothing.
    """
    if not settings.anneal:
        return 1.0
    down = min(steps - 1, max(1, round(settings.anneal_ratio * (steps - 1))))
    return max(0.0, 1.0 - (step + 1) / (down + 1)) if step < down else 0.0
