"""A loss that is not finite is an error of its own, on all ranks."""

import math
import os
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import VOCABULARY, tiny_model
from tests.trsp.engine.ways import BLOCKS, DRIFT, WAYS, every_way, marks
from tests.trsp.spawn_ranks import on_ranks
from trsp.config import DriftSettings, EngineSettings, GatesSettings, HealSettings
from trsp.engine.engine import Engine
from trsp.engine.optimizer_config import OptimizerConfig
from trsp.errors import InvalidInputError, TrainingDivergedError
from trsp.selection import rank_layers
from trsp.transfer import transfer

WILD: Any = {"weights_learning_rate": 1e38, "steps_per_round": 3}


@pytest.mark.parametrize(
    "stage",
    [
        lambda model: list(rank_layers(model, BLOCKS, GatesSettings(), depth=1)),
        lambda model: transfer(model, [1], BLOCKS, DriftSettings(learning_rate=1e-3)),
    ],
    ids=["rank", "transfer"],
)
def test_nan_before_any_step_is_bad_input_and_the_model_comes_back_plain(
    stage: Callable[[Any], object],
) -> None:
    """No learning rate has had a part in it, so a lower one is no cure."""
    model = tiny_model("llama")
    model.model.layers[3].register_forward_hook(lambda _, args, output: output * math.nan)
    marked = marks(model)
    with pytest.raises(InvalidInputError, match=r"before anything is trained the LM loss is nan"):
        stage(model)
    assert marks(model) == marked


@pytest.mark.parametrize("settings", [HealSettings(), DriftSettings()])
def test_weights_that_come_with_a_nan_are_not_trained(settings: Any) -> None:
    """No block reads this token: only its row of the embedding is ruined, and no loss shows it."""
    model = tiny_model("llama")
    model.model.embed_tokens.weight.data[VOCABULARY - 1] = math.nan
    with pytest.raises(InvalidInputError, match=r"the first is model\.embed_tokens\.weight; such"):
        transfer(model, [1], BLOCKS, settings)


@pytest.mark.parametrize(
    "stage",
    [
        lambda model: list(
            rank_layers(model, BLOCKS, GatesSettings(train_weights=True, **WILD), depth=1)
        ),
        lambda model: transfer(model, [1], BLOCKS, DriftSettings(learning_rate=1e38)),
    ],
    ids=["rank", "transfer"],
)
def test_nan_in_a_later_step_is_a_divergence_and_the_model_comes_back_plain(
    stage: Callable[[Any], object],
) -> None:
    model = tiny_model("llama")
    marked = marks(model)
    with pytest.raises(TrainingDivergedError, match=r"step 2.*nan.*lower"):
        stage(model)
    assert marks(model) == marked


def test_an_infinite_penalty_is_noticed_in_the_step_that_has_it() -> None:
    optimizer = OptimizerConfig(1e-3, steps=2)
    with Engine(tiny_model("llama"), EngineSettings(), 1, optimizer) as engine:
        engine.step(BLOCKS[:1])
        with pytest.raises(TrainingDivergedError, match=r"step 2.*penalty inf"):
            engine.step(BLOCKS[:1], lambda: torch.tensor(math.inf), weight=0.0)


@every_way
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_nan_in_the_last_steps_gradient_is_noticed(way: str, dtype: torch.dtype) -> None:
    """The losses of the step are finite, and no step follows that would have others."""
    model = tiny_model("llama", layers=1, dtype=dtype)
    weight: Tensor = model.model.layers[0].mlp.down_proj.weight
    with Engine(model, WAYS[way], 4, OptimizerConfig(1e-3, steps=2)) as engine:
        engine.step(BLOCKS[:4])
        weight.register_hook(lambda gradient: gradient * math.nan)
        with pytest.raises(TrainingDivergedError, match=r"step 2.*norm of the gradient (nan|inf)"):
            engine.step(BLOCKS[:4])


def test_weights_that_the_last_step_breaks_are_not_handed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Loss and gradient are finite; the step itself is too long."""
    rates = iter([1e-3, math.inf])
    monkeypatch.setattr(OptimizerConfig, "rate", lambda *_: next(rates))
    settings = DriftSettings(blocks_per_step=4, steps=2)
    with pytest.raises(TrainingDivergedError, match=r"parameters hold NaN .*lower"):
        transfer(tiny_model("llama", layers=2), [1], BLOCKS, settings)


def test_a_round_whose_last_step_breaks_the_weights_is_not_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(OptimizerConfig, "rate", lambda *_: math.inf)
    gates = GatesSettings(steps_per_round=1, train_weights=True)
    with pytest.raises(TrainingDivergedError, match=r"parameters hold NaN .*lower"):
        next(iter(rank_layers(tiny_model("llama", layers=2), BLOCKS, gates, depth=1)))


def diverges_on_all_ranks(zero_stage: int) -> bool:
    """The NaN is in the last rank's copy alone: the others must hear of it, or wait for ever.

    It is there from the seventh forward pass on, which is one of the third step.
    """
    model, passes = tiny_model("llama"), count(1)
    if os.environ.get("RANK") == "1":
        model.model.layers[0].mlp.down_proj.register_forward_hook(
            lambda _, args, output: output * math.nan if next(passes) > 6 else output
        )
    try:
        transfer(model, [1], BLOCKS, DRIFT, 0.5, EngineSettings(zero_stage=zero_stage))
    except TrainingDivergedError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [2, 3])
def test_two_ranks_diverge_together(zero_stage: int) -> None:
    assert on_ranks(2, diverges_on_all_ranks, zero_stage) == [True, True]
