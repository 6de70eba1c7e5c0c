"""One result, however it is computed: micro-batches, ZeRO stages, offload, checkpointing."""

from functools import cache
from typing import Any

import pytest
from torch import Tensor

from tests.tiny import tiny_model, weights
from tests.trsp.engine.ways import BLOCKS, REFERENCE, WAYS, every_way
from trsp.config import DriftSettings, EngineSettings, GatesSettings
from trsp.records import RoundRecord
from trsp.selection import rank_layers
from trsp.transfer import transfer

TRAINED_WEIGHTS = {"train_weights": True, "weights_learning_rate": 1e-3}


def ranked(engine: EngineSettings, **settings: Any) -> list[RoundRecord]:
    selector = GatesSettings.model_validate(
        {"learning_rate": 0.03, "blocks_per_step": 4, "steps_per_round": 2} | settings
    )
    return list(rank_layers(tiny_model("llama"), BLOCKS, selector, depth=3, engine=engine))


@cache
def reference_rounds(train_weights: bool) -> list[RoundRecord]:
    return ranked(REFERENCE, **(TRAINED_WEIGHTS if train_weights else {}))


def same_rounds(found: list[RoundRecord], wanted: list[RoundRecord], tolerance: float) -> None:
    assert [record.layer for record in found] == [record.layer for record in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.scores == pytest.approx(theirs.scores, abs=tolerance)
        assert ours.lm_loss == pytest.approx(theirs.lm_loss, abs=tolerance)


@every_way
def test_gates_are_the_same_however_they_are_computed(way: str) -> None:
    same_rounds(ranked(WAYS[way]), reference_rounds(False), tolerance=1e-5)


@every_way
def test_gates_with_trained_weights_are_the_same_however_they_are_computed(way: str) -> None:
    """Layers bypassed from one round to the next must not go on pulling at the gradient's norm."""
    rounds = ranked(WAYS[way], **TRAINED_WEIGHTS)
    same_rounds(rounds, reference_rounds(True), tolerance=1e-4)


def transferred(engine: EngineSettings) -> tuple[dict[str, Tensor], Any]:
    """Annealed, clipped (the gradient is longer than 0.5) and penalised: all terms have a part."""
    settings = DriftSettings(
        learning_rate=1e-3, blocks_per_step=4, steps=5, max_grad_norm=0.5, anneal_ratio=0.5
    )
    model = tiny_model("llama")
    record = transfer(model, [1, 3], BLOCKS, settings, drift=0.5, engine=engine)
    return weights(model), record


@cache
def reference_transfer() -> tuple[dict[str, Tensor], Any]:
    return transferred(REFERENCE)


@every_way
def test_transfer_gives_the_same_weights_however_it_is_computed(way: str) -> None:
    (found, ours), (wanted, theirs) = transferred(WAYS[way]), reference_transfer()
    assert ours.lm_loss == pytest.approx(theirs.lm_loss, abs=1e-4)
    assert ours.drift == pytest.approx(theirs.drift, abs=1e-4)
    # By norms: AdamW makes much of a rounding error where a gradient is next to nothing.
    for name, tensor in wanted.items():
        assert (found[name] - tensor).norm() < 1e-5 * tensor.norm(), name
