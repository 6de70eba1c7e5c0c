"""The order in which a selector would remove layers, whichever selector it is."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from trsp.architecture.decoders import decoder_layers
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
from trsp.records import RoundRecord
from trsp.selection.baselines import rank_at_random, rank_in_reverse
from trsp.selection.block_influence import rank_by_influence
from trsp.selection.learned_gates import rank_by_gates
from trsp.selection.sleb import rank_by_bypass
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
    """The order in which ``selector`` would remove layers, as rounds ``len(done)`` to ``depth - 1``, lazily.

    ``model`` is a causal LM of a known family, left as it was unless the selector trains weights; ``blocks_NT`` holds
    token ids [N, T] (None for selectors that read no text). Raises InvalidInputError when fewer than ``depth`` may go.
    ``progress`` and ``lr_scale`` are for selectors that train: see ``transfer``.
    """
    layers = len(decoder_layers(model))
    removable = layers - selector.protect_first - selector.protect_last
    if not 0 < depth <= min(removable, layers - 1):
        raise InvalidInputError(
            f"depth {depth} of {layers} layers, {max(0, removable)} of which may go; "
            f"choose 1 to {max(0, min(removable, layers - 1))}, or lower protect_first and protect_last"
        )
    match selector:
        case RandomSettings():
            return rank_at_random(layers, selector, seed=seed, depth=depth)[len(done) :]
        case ReverseSettings():
            return rank_in_reverse(layers, selector, depth=depth)[len(done) :]
    if blocks_NT is None:
        raise InvalidInputError(f"selector {selector.name!r} reads text: give calibration blocks")
    match selector:
        case BlockInfluenceSettings():
            return rank_by_influence(model, blocks_NT, selector, depth=depth)[len(done) :]
        case SlebSettings():
            return rank_by_bypass(
                model,
                blocks_NT,
                selector,
                depth=depth,
                done=done,
                beat=(progress or Progress()).beat,
            )
        case GatesSettings():
            return rank_by_gates(
                model,
                blocks_NT,
                selector,
                strength=gate_l1,
                depth=depth,
                done=done,
                engine=engine,
                progress=progress,
                lr_scale=lr_scale,
            )
