"""Losses and penalties as plain tensor functions. They know no model.

Shapes: B sequences, T tokens, D hidden width, V vocabulary.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from trsp.chunk_sizes import LOGITS_AT_ONCE
from trsp.config import DriftSettings


def lm_loss(logits_BTV: Tensor, tokens_BT: Tensor) -> Tensor:
    """Mean cross-entropy over all B * (T - 1) predicted tokens, in nats, computed in fp32.

    In pieces that the backward pass computes again: whole, the fp32 logits and their softmax would be the largest tensors of
    a step (2 GB each for 2048 tokens of a vocabulary of 262144).
    """
    logits_NV = logits_BTV[:, :-1].flatten(0, 1)
    targets_N = tokens_BT[:, 1:].flatten()
    at_once = max(1, LOGITS_AT_ONCE // logits_NV.shape[-1])
    pieces = zip(logits_NV.split(at_once), targets_N.split(at_once), strict=True)
    sums = [
        checkpoint(_summed_nll, logits, targets, use_reentrant=False) for logits, targets in pieces
    ]
    return torch.stack(sums).sum() / len(targets_N)


def _summed_nll(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    return functional.cross_entropy(logits_NV.float(), targets_N, reduction="sum")


def gate_l1(gates: Tensor, strength: float) -> Tensor:
    """lambda_1 * sum |s_i| (TRSP stage one)."""
    return strength * gates.abs().sum()


def l2_drift(x_BTD: Tensor, y_BTD: Tensor, *, relative: bool) -> Tensor:
    """Frobenius norm of each sequence's [T, D] difference, mean over B (TRSP stage two).

    Relative: each token's norm of the difference by that of its input, mean over B * T. Not the ratio of the two Frobenius
    norms: a few tokens with massive activations (attention sinks) make up nearly all of the input's.
    """
    dims = -1 if relative else (1, 2)
    norms: Tensor = torch.linalg.vector_norm(y_BTD - x_BTD, dim=dims, dtype=torch.float32)
    if relative:
        norms = norms / torch.linalg.vector_norm(x_BTD.detach(), dim=dims, dtype=torch.float32)
    return norms.mean()


def l1_drift(x_BTD: Tensor, y_BTD: Tensor, *, relative: bool) -> Tensor:
    """Mean absolute difference; relative: each token's by that of its input, mean over B * T."""
    drift_BT = (y_BTD - x_BTD).abs().mean(dim=-1, dtype=torch.float32)
    return (
        drift_BT / x_BTD.detach().abs().mean(dim=-1, dtype=torch.float32) if relative else drift_BT
    ).mean()


def drift_function(settings: DriftSettings) -> Callable[[Tensor, Tensor], Tensor]:
    """The settings' ``(x, y) -> scalar``. The divisor of a relative drift carries no gradient: it cannot be gamed."""
    function = l2_drift if settings.norm == "l2" else l1_drift
    return partial(function, relative=settings.drift_scale == "relative")


def branch_scale(step: int, steps: int, settings: DriftSettings) -> float:
    """Scale of the chosen branches at ``step`` of ``steps``: 1 without annealing, else linearly down to 0, then held at 0.

    The first step is already below 1 and the last is always at 0, so that deletion after it changes nothing.
    """
    if not settings.anneal:
        return 1.0
    down = min(steps - 1, max(1, round(settings.anneal_ratio * (steps - 1))))
    return max(0.0, 1.0 - (step + 1) / (down + 1)) if step < down else 0.0
