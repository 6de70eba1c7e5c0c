"""A loss that explodes but stays finite is told from one that rises because it must."""

import math
from typing import Any

import pytest
import torch

from tests.tiny import tiny_model
from tests.trsp.training.resumable import BLOCKS
from trsp.config import DriftSettings, EngineSettings, GatesSettings, HealSettings
from trsp.errors import TrainingDivergedError
from trsp.selection import rank_layers
from trsp.training.divergence import check_losses, has_diverged, largest_loss, unpaid
from trsp.training.progress import Progress
from trsp.training.snapshots import FolderSnapshots
from trsp.transfer import transfer

VOCABULARY = 49152  # of SmolLM2: a uniform guess costs 10.80 nats
ENGINE = EngineSettings(zero_stage=0)


# --- the rule ---------------------------------------------------------------


def test_half_of_what_the_model_knows_may_be_lost() -> None:
    assert largest_loss(2.8, VOCABULARY) == pytest.approx((2.8 + math.log(VOCABULARY)) / 2)


@pytest.mark.parametrize("start", [9.0, math.log(VOCABULARY), 12.0])
def test_a_model_that_knows_little_may_rise_by_two_nats(start: float) -> None:
    assert largest_loss(start, VOCABULARY) == start + 2.0


def test_a_model_far_worse_than_a_guess_may_rise_by_half_the_distance() -> None:
    assert largest_loss(16.8, VOCABULARY) == pytest.approx(16.8 + (16.8 - math.log(VOCABULARY)) / 2)


def test_the_limit_itself_is_no_divergence() -> None:
    limit = largest_loss(2.8, VOCABULARY)
    assert not has_diverged([2.8, limit, limit, limit], 2.8, VOCABULARY)
    assert has_diverged([2.8, limit, limit, limit + 1e-6], 2.8, VOCABULARY)


def test_one_hard_batch_is_no_divergence() -> None:
    """Its mean with two usual ones counts."""
    assert not has_diverged([2.8, 3.0, 12.0, 3.0], 2.8, VOCABULARY)


def test_fewer_steps_than_the_mean_is_taken_over_tell_nothing() -> None:
    assert not has_diverged([2.8, 90.0], 2.8, VOCABULARY)
    assert has_diverged([2.8, 90.0, 90.0], 2.8, VOCABULARY)


def test_a_loss_paid_for_by_a_lower_penalty_is_the_optimizer_at_work() -> None:
    assert unpaid(9.5, first_penalty=15.0, penalty=4.0) == pytest.approx(-1.5)
    assert unpaid(3.0, first_penalty=15.0, penalty=40.0) == 3.0


@pytest.mark.parametrize(
    "losses",
    [
        [3.49, 3.9, 3.8, 3.8, 4.54, 4.62, 3.53, 3.57],
        [3.49, 5.86, 4.85, 4.81, 4.95, 5.06, 5.23, 4.71],
    ],
    ids=["rate 2e-4", "rate 2e-3"],
)
def test_real_trainings_that_recover_are_none(losses: list[float]) -> None:
    """Measured: docs/method.md, section 6."""
    for step in range(len(losses)):
        check_losses(step + 1, losses[: step + 1], losses[0], VOCABULARY)


def test_a_real_training_at_a_hundred_times_the_rate_is_one() -> None:
    with pytest.raises(TrainingDivergedError, match=r"step 3.*19\.58.*began at 3\.49.*lower"):
        check_losses(3, [3.49, 17.49, 37.77], 3.49, VOCABULARY)


# --- applied ----------------------------------------------------------------


def settings(kind: Any, **changed: Any) -> Any:
    return kind.model_validate({"learning_rate": 1.0, "blocks_per_step": 4, "steps": 8} | changed)


@pytest.mark.parametrize("kind", [HealSettings, DriftSettings])
def test_an_exploding_loss_that_stays_finite_is_a_divergence(kind: Any) -> None:
    with pytest.raises(TrainingDivergedError, match="nats per token on average"):
        transfer(tiny_model("llama"), [1, 3], BLOCKS, settings(kind), 0.5, ENGINE)


def leaning_on(layer: int) -> Any:
    """A model whose loss is 17 nats per token with ``layer`` and 23 without it."""
    model = tiny_model("llama", layers=2)
    with torch.no_grad():
        for name, parameter in model.model.layers[layer].named_parameters():
            if name.endswith("down_proj.weight"):
                parameter.mul_(8.0)
        model.lm_head.weight.mul_(6.0)
    return model


def test_annealing_may_raise_the_loss_to_what_it_is_without_the_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is learned at this rate, so the loss ends where bypassing brings it: far up."""
    slow = settings(DriftSettings, learning_rate=1e-9, steps=12)
    model = leaning_on(1)
    record = transfer(model, [1], BLOCKS, slow, 0.0, ENGINE)
    vocabulary = model.config.vocab_size
    assert has_diverged(record.lm_loss, record.lm_loss[0], vocabulary), "by the first step alone"
    monkeypatch.setattr("trsp.transfer._loss_without_layers", lambda *_: None)
    with pytest.raises(TrainingDivergedError):
        transfer(leaning_on(1), [1], BLOCKS, slow, 0.0, ENGINE)


def test_a_strong_l1_may_raise_the_loss_as_far_as_it_lowers_the_gates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gates = GatesSettings(learning_rate=0.2, steps_per_round=6, blocks_per_step=4)
    (record,) = rank_layers(leaning_on(1), BLOCKS, gates, depth=1, gate_l1=50.0, engine=ENGINE)
    assert has_diverged(record.lm_loss, record.lm_loss[0], leaning_on(1).config.vocab_size)
    monkeypatch.setattr("trsp.selection.learned_gates.unpaid", lambda lm, *_: lm)
    with pytest.raises(TrainingDivergedError):
        list(rank_layers(leaning_on(1), BLOCKS, gates, depth=1, gate_l1=50.0, engine=ENGINE))


def test_weights_that_explode_beside_gates_are_a_divergence() -> None:
    gates = GatesSettings(
        steps_per_round=8, blocks_per_step=4, train_weights=True, weights_learning_rate=1.0
    )
    with pytest.raises(TrainingDivergedError, match="nats per token on average"):
        list(rank_layers(tiny_model("llama"), BLOCKS, gates, depth=1, engine=ENGINE))


def test_a_resumed_training_knows_where_it_began(tmp_path: Any) -> None:
    slow = settings(DriftSettings, learning_rate=1e-9, steps=12)
    places = FolderSnapshots(tmp_path)
    transfer(leaning_on(1), [1], BLOCKS, slow, 0.0, ENGINE, Progress(places, every_steps=4))
    transfer(leaning_on(1), [1], BLOCKS, slow, 0.0, ENGINE, Progress(places))
    found = places.latest()
    assert found is not None
    assert found.state["loop"]["start"] > found.state["loop"]["lm_loss"][0] + 2.0
