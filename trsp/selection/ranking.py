"""The order in which a selector would remove layers, whichever selector it is."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from trsp.architecture.decoders import decoder_layers
from trsp.architecture.limits import check_tokens
from trsp.config import (
    BlockInfluenceSettings,
    EngineSettings,
    GatesSettings,
    RandomSettings,
    ReverseSettings,
    Selector,
    SlebSettings,
)
from trsp.errors import InvalidInputError
from trsp.losses import check_rate_scale, check_strength
from trsp.records import RoundRecord
from trsp.selection.baselines import rank_at_random, rank_in_reverse
from trsp.selection.block_influence import rank_by_influence
from trsp.selection.learned_gates import GateTraining, rank_by_gates
from trsp.selection.sleb import rank_by_sleb
from trsp.training.progress import Progress


def rank_layers(
    model: Any,
    blocks_NT: Tensor | None,
    selector: Selector,
    *,
    depth: int,
    gate_l1: float = 5e-3,
    seed: int = 0,
    done: Sequence[RoundRecord] = (),
    engine: EngineSettings | None = None,
    progress: Progress | None = None,
    lr_scale: float = 1.0,
) -> Iterable[RoundRecord]:
    """Return the rounds ``len(done)`` to ``depth - 1`` of ``selector``'s order of layers, lazily.

    ``model`` is a causal LM of a known family, left as it was unless the selector trains weights.
    ``blocks_NT`` holds token ids, and is None for selectors that read no text. ``gate_l1``
    (lambda_1), ``engine``, ``progress`` and ``lr_scale`` are for learned gates: see GateTraining.
    InvalidInputError, at once, when fewer than ``depth`` layers may go, the text is missing or not
    for this model to read, or a number is none of its kind. TrainingDivergedError where a score, or
    what learned gates are trained by, is not finite (docs/method.md, section 6).
    """
    check_strength("gate_l1", gate_l1)
    check_rate_scale(lr_scale)
    layers = len(decoder_layers(model))
    _check_depth(depth, layers, selector)
    match selector:
        case RandomSettings() | ReverseSettings():
            return rank_unseen(layers, selector, depth=depth, seed=seed)[len(done) :]
        case BlockInfluenceSettings():
            blocks_NT = _readable(model, blocks_NT, selector)
            return rank_by_influence(model, blocks_NT, selector, depth=depth)[len(done) :]
        case SlebSettings():
            blocks_NT, beat = _readable(model, blocks_NT, selector), (progress or Progress()).beat
            return rank_by_sleb(model, blocks_NT, selector, depth=depth, done=done, beat=beat)
        case GatesSettings():
            blocks_NT = _readable(model, blocks_NT, selector)
            training = GateTraining(blocks_NT, selector, gate_l1, engine, progress, lr_scale)
            return rank_by_gates(model, training, depth=depth, done=done)


def rank_unseen(
    layers: int, selector: RandomSettings | ReverseSettings, *, depth: int, seed: int = 0
) -> list[RoundRecord]:
    """Return the first ``depth`` rounds of an order that looks at no model, only at its length.

    InvalidInputError when fewer than ``depth`` of the ``layers`` may go.
    """
    _check_depth(depth, layers, selector)
    if isinstance(selector, RandomSettings):
        return rank_at_random(layers, selector, seed=seed, depth=depth)
    return rank_in_reverse(layers, selector, depth=depth)


def _check_depth(depth: int, layers: int, selector: Selector) -> None:
    """Raise InvalidInputError unless ``depth`` layers may go and one of ``layers`` stays."""
    removable = layers - selector.protect_first - selector.protect_last
    deepest = max(0, min(removable, layers - 1))
    if not 0 < depth <= deepest:
        raise InvalidInputError(
            f"depth {depth} of {layers} layers, {max(0, removable)} of which may go; "
            f"choose 1 to {deepest}, or lower protect_first and protect_last"
        )


def _readable(model: Any, blocks_NT: Tensor | None, selector: Selector) -> Tensor:
    """Return the blocks that ``selector`` reads.

    InvalidInputError: there are none, or the model cannot read them.
    """
    if blocks_NT is None:
        raise InvalidInputError(f"selector {selector.name!r} reads text: give calibration blocks")
    check_tokens(model.config.to_dict(), blocks_NT, "a calibration block")
    return blocks_NT
