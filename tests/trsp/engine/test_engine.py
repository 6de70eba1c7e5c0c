"""The engine: schedule, batches, ZeRO stages that agree, and a model that comes back plain."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed.ops.op_builder import AsyncIOBuilder
from torch import Tensor, nn

from tests.tiny import LAYERS, tiny_model
from tests.trsp.spawn_ranks import on_ranks
from trsp.architecture.families import FAMILIES
from trsp.checkpoints.checkpoint import load_model
from trsp.config import DriftSettings, EngineSettings, GatesSettings
from trsp.distributed.zero3_parameters import whole_tensor
from trsp.engine.deepspeed_runtime import check_offload
from trsp.engine.engine import Engine
from trsp.engine.gate_optimizer import GateOptimizer
from trsp.engine.load_sharded import load_sharded
from trsp.engine.optimizer_config import OptimizerConfig
from trsp.errors import InvalidInputError, TrainingDivergedError
from trsp.gates import gated
from trsp.losses import gate_l1
from trsp.records import RoundRecord
from trsp.selection import rank_layers
from trsp.training.micro_batches import batch
from trsp.training.model_restore import ModelRestorer
from trsp.transfer import transfer

BLOCKS = torch.randint(0, 256, (8, 24), generator=torch.Generator().manual_seed(0))
WAYS = {
    "zero 0": EngineSettings(zero_stage=0),
    "zero 1": EngineSettings(zero_stage=1),
    "zero 2": EngineSettings(zero_stage=2),
    "zero 3": EngineSettings(zero_stage=3),
    "micro-batches of 2": EngineSettings(micro_batch=2),
    "activation checkpointing": EngineSettings(activation_checkpointing=True, micro_batch=2),
    "micro-batches of 3": EngineSettings(micro_batch=3),
    "zero 2, offloaded": EngineSettings(zero_stage=2, offload_optimizer="cpu"),
    "all at once": EngineSettings(
        zero_stage=3, offload_optimizer="cpu", offload_weights="cpu", activation_checkpointing=True
    ),
}
SLOW = ("micro-batches of 3", "all at once")
REFERENCE = EngineSettings(zero_stage=0, micro_batch=1)
every_way = pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.slow) if way in SLOW else way for way in WAYS]
)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def marks(model: nn.Module) -> dict[str, object]:
    """What a stranger could find on a model besides its weights: attributes, hooks, switches; and torch's linear."""
    found: dict[str, object] = {"linear": torch.nn.functional.linear}
    for name, module in model.named_modules():
        hooks = {
            key: list(value.values())
            for key, value in vars(module).items()
            if key.endswith("_hooks")
        }
        found[name] = (sorted(vars(module)), hooks, type(module._parameters), module.training)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found[f"{name} (parameter)"] = (
            id(parameter),
            sorted(vars(parameter)),
            parameter.requires_grad,
            parameter.grad,
        )
    return found


# --- schedule and batches ---------------------------------------------------------------------------------------------


def test_the_rate_warms_up_linearly_and_goes_down_to_nothing() -> None:
    schedule = OptimizerConfig(learning_rate=1.0, steps=7, warmup_steps=2)
    assert [schedule.rate(step) for step in range(8)] == pytest.approx(
        [1 / 3, 2 / 3, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0]
    )


def test_without_warm_up_the_first_step_has_the_whole_rate() -> None:
    assert [OptimizerConfig(1.0, steps=2).rate(step) for step in range(2)] == pytest.approx(
        [1.0, 0.5]
    )


def test_a_rankings_rate_knows_no_depth() -> None:
    assert {OptimizerConfig(0.1, steps=1, constant=True).rate(step) for step in range(100)} == {0.1}


def test_the_engine_trains_at_the_schedules_rates() -> None:
    for way in ("zero 0", "zero 2", "zero 3"):
        with Engine(
            tiny_model("llama"), WAYS[way], 1, OptimizerConfig(1e-3, steps=4, warmup_steps=1)
        ) as engine:
            seen = []
            for step in range(4):
                engine.step(batch(BLOCKS, step, 1))
                (rate,) = {group["lr"] for group in engine._engine.optimizer.param_groups}
                seen.append(rate)
        assert seen == pytest.approx([5e-4, 1e-3, 2e-3 / 3, 1e-3 / 3]), way


# --- one result, however it is computed -------------------------------------------------------------------------------


def ranked(engine: EngineSettings, **settings: Any) -> list[RoundRecord]:
    selector = GatesSettings.model_validate(
        {"learning_rate": 0.03, "blocks_per_step": 4, "steps_per_round": 2} | settings
    )
    return list(rank_layers(tiny_model("llama"), BLOCKS, selector, depth=3, engine=engine))


def same_rounds(found: list[RoundRecord], wanted: list[RoundRecord], tolerance: float) -> None:
    assert [record.layer for record in found] == [record.layer for record in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.scores == pytest.approx(theirs.scores, abs=tolerance)
        assert ours.lm_loss == pytest.approx(theirs.lm_loss, abs=tolerance)


@every_way
def test_gates_are_the_same_however_they_are_computed(way: str) -> None:
    same_rounds(ranked(WAYS[way]), ranked(REFERENCE), tolerance=1e-5)


@every_way
def test_gates_with_trained_weights_are_the_same_however_they_are_computed(way: str) -> None:
    """Layers that are bypassed from one round to the next must not go on pulling at the gradient's norm."""
    settings = {"train_weights": True, "weights_learning_rate": 1e-3}
    same_rounds(ranked(WAYS[way], **settings), ranked(REFERENCE, **settings), tolerance=1e-4)


@every_way
def test_transfer_gives_the_same_weights_however_it_is_computed(way: str) -> None:
    """Annealed, clipped (the gradient is longer than 0.5) and penalised, so that all terms are in the weights."""
    settings = DriftSettings(
        learning_rate=1e-3, blocks_per_step=4, steps=5, max_grad_norm=0.5, anneal_ratio=0.5
    )
    results = []
    for engine in (WAYS[way], REFERENCE):
        model = tiny_model("llama")
        record = transfer(model, [1, 3], BLOCKS, settings, drift=0.5, engine=engine)
        results.append((weights(model), record))
    (found, ours), (wanted, theirs) = results
    assert ours.lm_loss == pytest.approx(theirs.lm_loss, abs=1e-4)
    assert ours.drift == pytest.approx(theirs.drift, abs=1e-4)
    for (
        name,
        tensor,
    ) in (
        wanted.items()
    ):  # by norms: AdamW makes much of a rounding error where a gradient is next to nothing
        assert (found[name] - tensor).norm() < 1e-5 * tensor.norm(), name


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 4, 9])
def test_the_gates_gradient_is_that_of_the_effective_batchs_mean_loss(micro_batch: int) -> None:
    """AdamW hides a factor; the gradient itself does not."""
    seen: list[Tensor] = []

    class Watched(GateOptimizer):
        def step(self) -> None:
            seen.append(self.gates.grad.clone())  # type: ignore[union-attr]
            super().step()

    model, gates = tiny_model("llama"), torch.ones(LAYERS, requires_grad=True)
    with gated(model, gates, range(LAYERS), "residual"):
        loss = model(BLOCKS[:4], labels=BLOCKS[:4], use_cache=False).loss + 0.01 * gates.abs().sum()
        (wanted,) = torch.autograd.grad(loss, gates)
        with Engine(model, EngineSettings(micro_batch=micro_batch), 4) as engine:
            engine.step(BLOCKS[:4], lambda: gate_l1(gates, 1.0), 0.01, Watched(gates, 0.1))
    torch.testing.assert_close(seen[0], wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_activation_checkpointing_changes_no_familys_gates(family: str) -> None:
    """Dropout stays off: OPT's layers would turn theirs on in training mode, which transformers' own switch needs."""
    gradients = []
    for checkpointing in (False, True):
        model, gates = tiny_model(family), torch.ones(LAYERS, requires_grad=True)
        optimizer = GateOptimizer(gates, learning_rate=0.1)
        settings = EngineSettings(zero_stage=0, activation_checkpointing=checkpointing)
        with Engine(model, settings, 1) as engine, gated(model, gates, range(LAYERS), "residual"):
            loss = engine.step(BLOCKS[:1], lambda gates=gates: gate_l1(gates, 1.0), 0.01, optimizer)
        gradients.append((loss.lm, gates.detach()))
    assert gradients[0][0] == gradients[1][0]
    torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=0, atol=1e-5)


def test_activation_checkpointing_recomputes_the_layers() -> None:
    """Counted: each layer's MLP runs twice a step, in the forward pass and again in the backward pass."""
    for checkpointing, wanted in ((False, 1), (True, 2)):
        model, calls = tiny_model("llama"), []
        handle = model.model.layers[2].mlp.register_forward_pre_hook(
            lambda *_, calls=calls: calls.append(1)
        )
        settings = EngineSettings(activation_checkpointing=checkpointing)
        with Engine(model, settings, 1, OptimizerConfig(1e-3, steps=1)) as engine:
            engine.step(BLOCKS[:1])
        handle.remove()
        assert len(calls) == wanted


# --- the model comes back plain ---------------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize("train_weights", [False, True])
def test_a_model_comes_back_plain(way: str, train_weights: bool) -> None:
    model = tiny_model("llama")
    before, marked = weights(model), marks(model)
    with torch.no_grad():
        logits = model(BLOCKS[:1], use_cache=False).logits
    selector = GatesSettings(blocks_per_step=4, train_weights=train_weights)
    list(rank_layers(model, BLOCKS, selector, depth=2, engine=WAYS[way]))
    assert marks(model) == marked
    after = weights(model)
    assert all(torch.equal(after[name], before[name]) for name in before) != train_weights
    with torch.no_grad():
        assert torch.equal(model(BLOCKS[:1], use_cache=False).logits, logits) != train_weights


@pytest.mark.parametrize("way", ["zero 2", "zero 3"])
def test_a_ranking_left_in_the_middle_leaves_the_model_plain(way: str) -> None:
    model = tiny_model("llama")
    marked = marks(model)
    rounds = iter(
        rank_layers(model, BLOCKS, GatesSettings(blocks_per_step=8), depth=3, engine=WAYS[way])
    )
    next(rounds)
    assert marks(model) != marked
    del rounds  # a generator that nobody holds is closed
    assert marks(model) == marked


def test_a_hook_that_was_there_before_stays_and_can_still_be_removed() -> None:
    model, calls = tiny_model("llama"), []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    list(rank_layers(model, BLOCKS, GatesSettings(blocks_per_step=8), depth=1))
    calls.clear()
    model(BLOCKS[:1])
    handle.remove()
    model(BLOCKS[:1])
    assert calls == [1]


def test_put_back_undoes_what_a_library_did() -> None:
    model = tiny_model("llama")
    model.lm_head.weight.requires_grad_(False)
    marked, plain = marks(model), ModelRestorer(model)
    model.requires_grad_(True)
    model.model.layers[0].register_forward_pre_hook(lambda *_: None)
    model.model.layers[0].extra = 1
    model.lm_head.weight.master = torch.ones(3)  # type: ignore[union-attr]
    model.lm_head.weight.grad = torch.zeros_like(model.lm_head.weight)
    model.model.train()
    assert marks(model) != marked
    plain.restore()
    assert marks(model) == marked


def test_one_model_goes_through_many_engines() -> None:
    """The library does so: rank, transfer, rank again, in one process and under any ZeRO stage."""
    model, fresh = tiny_model("llama"), tiny_model("llama")
    for way in ("zero 3", "zero 2", "zero 3"):
        transfer(model, [2], BLOCKS, DriftSettings(steps=2, learning_rate=1e-3), engine=WAYS[way])
        transfer(fresh, [2], BLOCKS, DriftSettings(steps=2, learning_rate=1e-3), engine=REFERENCE)
    for name, tensor in weights(fresh).items():
        torch.testing.assert_close(weights(model)[name], tensor, rtol=0, atol=3e-5)


# --- precision --------------------------------------------------------------------------------------------------------


def test_a_bf16_model_keeps_its_fp32_buffers(tiny_llama: Path) -> None:
    """Rotary frequencies in bf16 would place the tokens of a long text wrongly."""
    model = load_model(str(tiny_llama), precision="bf16", device="cpu")
    buffers = {name: buffer.dtype for name, buffer in model.named_buffers()}
    assert torch.float32 in buffers.values()
    with Engine(model, WAYS["zero 2"], 1, OptimizerConfig(1e-3, steps=1)) as engine:
        engine.step(BLOCKS[:1])
        assert {name: buffer.dtype for name, buffer in model.named_buffers()} == buffers
    assert {name: buffer.dtype for name, buffer in model.named_buffers()} == buffers
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("way", ["zero 0", "zero 1", "zero 2", "zero 3"])
def test_bf16_weights_have_fp32_masters(way: str) -> None:
    """Twenty steps far below bf16's resolution add up; without a master copy none of them would be seen."""
    model = tiny_model("llama", dtype=torch.bfloat16)
    before = weights(model)["model.embed_tokens.weight"]
    rate = 2e-5  # a weight of 0.15 has bf16 steps of 1e-3
    with Engine(model, WAYS[way], 1, OptimizerConfig(rate, steps=1, constant=True)) as engine:
        for _ in range(20):
            engine.step(BLOCKS[:1])
    moved = (weights(model)["model.embed_tokens.weight"] - before)[BLOCKS[0].unique()].abs().float()
    assert 1e-4 < moved.mean() < 1e-3


@pytest.mark.parametrize("train_weights", [False, True])
def test_gates_stay_fp32_and_move_by_less_than_bf16s_step(train_weights: bool) -> None:
    """bf16 knows nothing between 1 - 2^-8 and 1 (nor 1 and 1 + 2^-7)."""
    model = tiny_model("llama", dtype=torch.bfloat16)
    selector = GatesSettings(learning_rate=1e-4, blocks_per_step=4, train_weights=train_weights)
    (record,) = rank_layers(model, BLOCKS, selector, depth=1, gate_l1=1e-3)
    gates = torch.tensor(record.gate_steps)
    assert gates.bfloat16().unique().tolist() == [1.0]
    assert len(gates[-1].unique()) == LAYERS, "no ties"
    assert (gates[0] - 1).abs() == pytest.approx(1e-4, rel=1e-2), "AdamW's first step is its rate"


# --- divergence -------------------------------------------------------------------------------------------------------


def broken(model: Any) -> Any:
    model.model.layers[3].mlp.down_proj.weight.data[0, 0] = math.nan
    return model


@pytest.mark.parametrize(
    "stage",
    [
        lambda model: list(rank_layers(model, BLOCKS, GatesSettings(), depth=1)),
        lambda model: transfer(model, [1], BLOCKS, DriftSettings(learning_rate=1e-3)),
    ],
    ids=["rank", "transfer"],
)
def test_nan_is_an_error_of_its_own_and_the_model_comes_back_plain(
    stage: Callable[[Any], object],
) -> None:
    model = broken(tiny_model("llama"))
    marked = marks(model)
    with pytest.raises(TrainingDivergedError, match=r"nan.*lower"):
        stage(model)
    assert marks(model) == marked


def test_an_infinite_penalty_is_noticed_in_the_step_that_has_it() -> None:
    with (
        Engine(tiny_model("llama"), EngineSettings(), 1, OptimizerConfig(1e-3, steps=1)) as engine,
        pytest.raises(TrainingDivergedError, match="penalty inf"),
    ):
        engine.step(BLOCKS[:1], lambda: torch.tensor(math.inf), weight=0.0)


# --- ranks ------------------------------------------------------------------------------------------------------------


DRIFT = DriftSettings(learning_rate=1e-3, blocks_per_step=4, steps=4, max_grad_norm=0.5)


def diverges_on_all_ranks(zero_stage: int) -> bool:
    """The NaN is in the last rank's copy alone: the others must hear of it, or wait for ever."""
    model = tiny_model("llama")
    if os.environ.get("RANK") == "1":
        model.model.layers[0].mlp.down_proj.register_forward_hook(
            lambda _, args, output: output * math.nan
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


# --- offload to NVMe --------------------------------------------------------------------------------------------------


def test_a_model_loaded_whole_does_not_go_to_nvme(tmp_path: Path) -> None:
    settings = EngineSettings(zero_stage=3, offload_weights="nvme", nvme_path=str(tmp_path))
    with pytest.raises(InvalidInputError, match=r"loaded whole.*load_sharded"):
        transfer(tiny_model("llama"), [1], BLOCKS, DRIFT, 0.5, settings)


def test_offload_to_nvme_is_tried_or_refused_before_anything_starts(
    tmp_path: Path, tiny_llama: Path
) -> None:
    settings = EngineSettings(
        zero_stage=3, offload_optimizer="nvme", offload_weights="nvme", nvme_path=str(tmp_path)
    )
    if not AsyncIOBuilder().is_compatible(verbose=False):
        with pytest.raises(
            InvalidInputError, match=r"libaio.*offload_optimizer and offload_weights to cpu"
        ):
            load_sharded(str(tiny_llama), engine=settings)
        model = tiny_model("llama")
        marked = marks(model)
        with pytest.raises(
            InvalidInputError, match=r"libaio.*offload_optimizer and offload_weights to cpu"
        ):
            transfer(
                model,
                [1],
                BLOCKS,
                DRIFT,
                0.5,
                settings.model_copy(update={"offload_weights": "none"}),
            )
        assert marks(model) == marked
        pytest.skip("libaio's headers are not here: only the refusal could be tested")
    trained, wanted = load_sharded(str(tiny_llama), engine=settings), load_model(str(tiny_llama))
    transfer(trained, [1], BLOCKS, DRIFT, 0.5, settings)
    transfer(wanted, [1], BLOCKS, DRIFT, 0.5, REFERENCE)
    for name, parameter in trained.named_parameters():
        if ".layers.1." not in name:  # that one will be deleted: see Engine._forget_gradients
            torch.testing.assert_close(
                whole_tensor(parameter), weights(wanted)[name], rtol=0, atol=3e-5
            )


def test_a_folder_on_nvme_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AsyncIOBuilder, "is_compatible", lambda *_, **__: True)
    settings = EngineSettings(
        zero_stage=3, offload_weights="nvme", nvme_path=str(tmp_path / "none")
    )
    with pytest.raises(InvalidInputError, match=r"none is no folder.*every node"):
        check_offload(settings)
