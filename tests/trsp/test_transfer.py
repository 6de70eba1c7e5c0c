"""Stage two and its controls against plain torch: what is trained, and what deletion changes."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import tiny_model, weights
from trsp.architecture.decoders import decoder_layers
from trsp.config import DriftSettings, EngineSettings, HealSettings, NoTransfer
from trsp.engine.engine import Engine, StepLosses
from trsp.errors import InvalidInputError
from trsp.surgery import bypassed, remove_layers
from trsp.transfer import transfer

BLOCKS = torch.randint(0, 256, (8, 24), generator=torch.Generator().manual_seed(0))
LAYERS_OUT = [1, 4]
BUDGET: dict[str, Any] = {
    "learning_rate": 1e-3,
    "blocks_per_step": 2,
    "steps": 6,
    "warmup_ratio": 0.34,
    "weight_decay": 0.1,
    "max_grad_norm": 4.0,  # about the gradients' own norms: some steps are clipped, some are not
}
PLAIN = EngineSettings(zero_stage=0)
LITERAL = BUDGET | {"anneal": False, "drift_scale": "absolute"}


def same_weights(found: Any, wanted: Any, tolerance: float = 2e-5) -> None:
    ours, theirs = weights(found), weights(wanted)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(
            ours[name],
            tensor,
            rtol=0,
            atol=tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def plain_training(
    model: Any, layers: list[int] | None = None, drift: float = 0.0, norm: str = "l2"
) -> tuple[Any, list[float]]:
    """The same budget in plain torch: AdamW, clipped, 2 of 6 steps of warm-up, absolute drift.

    Returns the trained model and its LM losses.
    """
    adam = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=BUDGET["weight_decay"])
    rates = [1e-3 * factor for factor in (1 / 3, 2 / 3, 1.0, 0.75, 0.5, 0.25)]
    seen: list[tuple[Tensor, Tensor]] = []
    handles = [
        decoder_layers(model)[layer].register_forward_hook(
            lambda _, args, y: seen.append((args[0], y))
        )
        for layer in layers or []
    ]
    losses = []
    for step, rate in enumerate(rates):
        rows_BT = BLOCKS[[(2 * step) % 8, (2 * step + 1) % 8]]
        seen.clear()
        lm = model(rows_BT, labels=rows_BT, use_cache=False).loss
        size = {
            "l2": lambda d: d.pow(2).sum(dim=(1, 2)).sqrt().mean(),
            "l1": lambda d: d.abs().mean(),
        }[norm]
        loss = lm + drift * sum(size(y - x) for x, y in seen)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), BUDGET["max_grad_norm"])
        adam.param_groups[0]["lr"] = rate
        adam.step()
        losses.append(lm.item())
    for handle in handles:
        handle.remove()
    return model, losses


# --- against plain torch -------------------------------------------------------


def test_heal_is_training_after_real_deletion() -> None:
    healed, deleted = tiny_model("llama"), tiny_model("llama")
    record = transfer(healed, LAYERS_OUT, BLOCKS, HealSettings.model_validate(BUDGET), engine=PLAIN)
    remove_layers(healed, LAYERS_OUT)
    remove_layers(deleted, LAYERS_OUT)
    _, losses = plain_training(deleted)
    same_weights(healed, deleted)
    assert record.lm_loss == pytest.approx(losses, abs=1e-4)
    assert set(record.branch_scale) == {0.0}


def test_drift_of_no_strength_is_plain_training_of_the_whole_model() -> None:
    trained, plain = tiny_model("llama"), tiny_model("llama")
    record = transfer(
        trained, LAYERS_OUT, BLOCKS, DriftSettings.model_validate(LITERAL), drift=0.0, engine=PLAIN
    )
    _, losses = plain_training(plain)
    same_weights(trained, plain)
    assert record.lm_loss == pytest.approx(losses, abs=1e-4)
    assert all(value > 0 for value in record.drift), "measured, if not weighed"


@pytest.mark.parametrize(("norm", "strength"), [("l2", 0.02), ("l1", 2.0)])
def test_the_papers_stage_two_is_the_lm_loss_plus_the_weighted_norms(
    norm: str, strength: float
) -> None:
    settings = DriftSettings.model_validate(LITERAL | {"norm": norm})
    trained, plain, free = tiny_model("llama"), tiny_model("llama"), tiny_model("llama")
    record = transfer(trained, LAYERS_OUT, BLOCKS, settings, drift=strength, engine=PLAIN)
    _, losses = plain_training(plain, LAYERS_OUT, strength, norm)
    same_weights(trained, plain)
    assert record.lm_loss == pytest.approx(losses, abs=1e-4)
    plain_training(free)
    with pytest.raises(AssertionError):
        same_weights(trained, free)


# --- what the penalty and the annealing do -------------------------------------


@pytest.mark.parametrize("scale", ["relative", "absolute"])
def test_the_penalty_lowers_the_drift(scale: str) -> None:
    """Against where it began, and against the same training without it."""
    settings = DriftSettings.model_validate(
        BUDGET | {"anneal": False, "drift_scale": scale, "steps": 20, "learning_rate": 3e-3}
    )
    with_it, without = (
        transfer(tiny_model("llama"), LAYERS_OUT, BLOCKS, settings, strength)
        for strength in (1.0, 0.0)
    )
    assert with_it.drift[0] == pytest.approx(without.drift[0])
    assert with_it.drift[-1] < 0.7 * with_it.drift[0]
    assert with_it.drift[-1] < 0.7 * without.drift[-1]


@pytest.mark.parametrize(
    "settings", [DriftSettings.model_validate(BUDGET), HealSettings.model_validate(BUDGET)]
)
def test_deletion_changes_nothing_at_the_end_of_annealing(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model that the last step saw is, weight by weight, what is left after deletion."""
    model = tiny_model("llama")
    seen: list[tuple[dict[str, Tensor], Tensor]] = []
    step = Engine.step

    def watched(engine: Engine, rows_BT: Tensor, *more: Any) -> StepLosses:
        before = weights(model)
        with torch.no_grad():
            # Under whatever hooks and overrides the step runs.
            logits_BTV = model(rows_BT, use_cache=False).logits
        seen.append((before, logits_BTV))
        return step(engine, rows_BT, *more)

    monkeypatch.setattr(Engine, "step", watched)
    record = transfer(model, LAYERS_OUT, BLOCKS, settings, drift=0.1)

    last_weights, last_logits = seen[-1]
    deleted = tiny_model("llama")
    deleted.load_state_dict(last_weights)
    remove_layers(deleted, LAYERS_OUT)
    rows_BT = BLOCKS[[2, 3]]  # step 5 of 6, two blocks each, going round 8
    with torch.no_grad():
        output = deleted(rows_BT, labels=rows_BT, use_cache=False)
    torch.testing.assert_close(output.logits, last_logits)
    assert record.lm_loss[-1] == pytest.approx(output.loss.item(), abs=1e-5)
    assert record.branch_scale[-1] == 0.0


def test_without_annealing_deletion_does_change_something() -> None:
    """The control of the test above: the paper's model still leans on the layers when they go."""
    model = tiny_model("llama")
    transfer(model, LAYERS_OUT, BLOCKS, DriftSettings.model_validate(LITERAL), drift=1e-3)
    with torch.no_grad():
        whole = model(BLOCKS[:1], use_cache=False).logits
        with bypassed(model, LAYERS_OUT):
            assert (model(BLOCKS[:1], use_cache=False).logits - whole).abs().max() > 0.1


@pytest.mark.parametrize(
    ("settings", "strength"),
    [
        (DriftSettings(steps=1), 0.0),
        (DriftSettings(steps=1, anneal=False), 0.3),
        (DriftSettings(preset="paper", steps=1), 1e-3),
    ],
    ids=["annealed", "not annealed", "paper"],
)
def test_where_no_lambda_2_is_given_it_is_the_one_of_the_settings(
    settings: DriftSettings, strength: float
) -> None:
    default, spelled = tiny_model("llama"), tiny_model("llama")
    assert settings.default_strength == strength
    transfer(default, LAYERS_OUT, BLOCKS, settings)
    transfer(spelled, LAYERS_OUT, BLOCKS, settings, drift=strength)
    same_weights(default, spelled, tolerance=0.0)


def test_the_record_tells_the_schedule_and_the_cost() -> None:
    record = transfer(
        tiny_model("llama"),
        LAYERS_OUT,
        BLOCKS,
        DriftSettings.model_validate(BUDGET | {"anneal_ratio": 0.6}),
        0.1,
    )
    assert record.layers == tuple(LAYERS_OUT)
    assert record.branch_scale == pytest.approx((0.75, 0.5, 0.25, 0.0, 0.0, 0.0))
    assert record.tokens == 6 * 2 * 24
    assert [value > 0 for value in record.drift] == [True] * 3 + [False] * 3
    assert record.seconds > 0


def test_steps_default_to_one_pass_over_the_blocks() -> None:
    settings = HealSettings(blocks_per_step=3)
    assert len(transfer(tiny_model("llama"), [1], BLOCKS, settings).lm_loss) == 2


# --- edges ---------------------------------------------------------------------


def test_none_trains_nothing() -> None:
    model = tiny_model("llama")
    record = transfer(model, LAYERS_OUT, BLOCKS, NoTransfer())
    assert (record.lm_loss, record.tokens) == ((), 0)
    same_weights(model, tiny_model("llama"), tolerance=0.0)


@pytest.mark.parametrize("settings", [NoTransfer(), DriftSettings(), HealSettings()])
@pytest.mark.parametrize("layers", [[6], [-1], [1, 1], list(range(6))], ids=str)
def test_layers_that_cannot_go_are_refused_before_training(
    settings: Any, layers: list[int]
) -> None:
    model = tiny_model("llama")
    with pytest.raises(InvalidInputError):
        transfer(model, layers, BLOCKS, settings, 1e-3)
    same_weights(model, tiny_model("llama"), tolerance=0.0)


@pytest.mark.parametrize("family", ["gpt2", "gemma3_text", "opt"])
def test_other_families_go_through_stage_two(family: str) -> None:
    model = tiny_model(family)
    record = transfer(model, LAYERS_OUT, BLOCKS, DriftSettings.model_validate(BUDGET), drift=0.1)
    assert record.lm_loss[-1] < record.lm_loss[0] + 1.0
    remove_layers(model, LAYERS_OUT)
    with torch.no_grad():
        assert model(BLOCKS[:1], use_cache=False).logits.isfinite().all()
