"""Adapters against plain torch: what they add, what trains, and what the merged weights keep."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tiny import save_tiny, tiny_model, weights
from tests.trsp.spawn_ranks import on_ranks
from trsp.architecture.decoders import decoder_layers
from trsp.architecture.families import FAMILIES
from trsp.checkpoints.checkpoint import load_model
from trsp.config import DriftSettings, EngineSettings, HealSettings, LoraSettings
from trsp.distributed.zero3_parameters import is_partitioned, whole_tensor
from trsp.engine.load_sharded import load_sharded
from trsp.errors import InvalidInputError
from trsp.training.lora import adapted
from trsp.transfer import transfer

BLOCKS = torch.randint(0, 256, (8, 16), generator=torch.Generator().manual_seed(0))
LORA = LoraSettings(rank=4, alpha=8.0)
TRAINING: dict[str, Any] = {"learning_rate": 1e-2, "blocks_per_step": 2, "steps": 3, "lora": LORA}


@torch.no_grad()
def logits(model: Any) -> Tensor:
    result: Tensor = model(BLOCKS[:2], use_cache=False).logits
    return result


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_merged_weights_give_what_weights_and_adapters_gave(family: str) -> None:
    """Linear modules of all layers change, and nothing else does.

    Before training, adapters change nothing.
    """
    model = tiny_model(family)
    before, dense = weights(model), logits(model)
    with adapted(model, LORA) as parameters:
        assert parameters is not None
        assert torch.equal(logits(model), dense)
        with torch.no_grad():
            for parameter in parameters:
                parameter += 0.05
        wanted = logits(model)
    after = weights(model)
    torch.testing.assert_close(logits(model), wanted, rtol=1e-3, atol=1e-4)
    assert (wanted - dense).abs().max() > 0.01
    linear = {
        id(module.weight)
        for module in decoder_layers(model).modules()
        if type(module).__name__ in ("Linear", "Conv1D")
    }
    for name, parameter in model.named_parameters():
        assert torch.equal(after[name], before[name]) != (id(parameter) in linear), name


def test_the_model_is_plain_again_even_after_an_error() -> None:
    model = tiny_model("llama")
    model.lm_head.weight.requires_grad_(False)
    before, structure = weights(model), str(model)
    attributes = {name: sorted(vars(module)) for name, module in model.named_modules()}
    with contextlib.suppress(ZeroDivisionError), adapted(model, LORA) as parameters:
        assert str(model) != structure
        parameters[1].data += 1.0  # type: ignore[index]
        _ = 1 / 0
    assert str(model) == structure
    assert {name: sorted(vars(module)) for name, module in model.named_modules()} == attributes
    assert not model.lm_head.weight.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())


def test_without_settings_nothing_is_done() -> None:
    model = tiny_model("llama")
    with adapted(model, None) as parameters:
        assert parameters is None
        assert "lora" not in str(model).lower()


def test_modules_are_chosen_by_name_and_a_wrong_name_is_told() -> None:
    model = tiny_model("llama")
    with adapted(model, LoraSettings(target_modules=("q_proj", "v_proj"))) as parameters:
        assert len(parameters or ()) == 6 * 2 * 2
    with pytest.raises(
        InvalidInputError, match=r"'q_prj': known are .*q_proj.*did you mean 'q_proj'"
    ):
        adapted(model, LoraSettings(target_modules=("q_prj",))).__enter__()


def test_adapters_are_a_function_of_the_settings_alone() -> None:
    first: list[list[Tensor]] = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        with adapted(tiny_model("llama"), LORA) as parameters:
            first.append([parameter.detach().clone() for parameter in parameters or ()])
        assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(*first, strict=True))
    assert all(
        a.any() and not b.any() for a, b in zip(first[0][::2], first[0][1::2], strict=True)
    ), "A is random, B is 0"


def plainly(model: Any) -> Any:
    """The same training, literally: W + alpha/rank B A by torch's own means, AdamW.

    The rates are 1, 2/3 and 1/3 of the first.
    """
    with adapted(tiny_model("llama"), LORA) as parameters:
        first = [parameter.detach().clone().requires_grad_() for parameter in parameters or ()]
    pairs = dict(
        zip(sorted(linear_names(model)), zip(first[::2], first[1::2], strict=True), strict=True)
    )
    adam = torch.optim.AdamW(first, lr=1.0, weight_decay=0.0)
    dense = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    def merged() -> dict[str, Tensor]:
        return dense | {
            f"{name}.weight": dense[f"{name}.weight"] + 2.0 * b @ a
            for name, (a, b) in pairs.items()
        }

    for step, rate in enumerate((1e-2, 1e-2 * 2 / 3, 1e-2 / 3)):
        rows_BT = BLOCKS[2 * step : 2 * step + 2]
        arguments = {"labels": rows_BT, "use_cache": False}
        adam.zero_grad()
        torch.func.functional_call(model, merged(), (rows_BT,), arguments).loss.backward()
        torch.nn.utils.clip_grad_norm_(first, 1.0)
        adam.param_groups[0]["lr"] = rate
        adam.step()
    model.load_state_dict(merged(), strict=False)
    return model


def linear_names(model: Any) -> list[str]:
    return [
        f"model.layers.{name}"
        for name, module in model.model.layers.named_modules()
        if isinstance(module, nn.Linear)
    ]


def test_stage_two_trains_the_adapters_and_merges_them() -> None:
    settings = DriftSettings.model_validate(TRAINING | {"anneal": False, "warmup_ratio": 0.0})
    trained, wanted = tiny_model("llama"), plainly(tiny_model("llama"))
    transfer(trained, [1, 3], BLOCKS, settings, 0.0, EngineSettings(zero_stage=0))
    for name, tensor in weights(wanted).items():
        torch.testing.assert_close(
            weights(trained)[name],
            tensor,
            rtol=0,
            atol=2e-5,
            msg=lambda text, name=name: f"{name}: {text}",
        )
    dense = tiny_model("llama").model.layers[0].mlp.up_proj.weight
    assert (dense - trained.model.layers[0].mlp.up_proj.weight).abs().max() > 1e-3


def test_bf16_adapters_have_fp32_masters() -> None:
    """A constant rate far below bf16's resolution of A's weights."""
    model = tiny_model("llama", layers=2, dtype=torch.bfloat16)
    before = weights(model)
    settings = HealSettings.model_validate(TRAINING | {"steps": 20, "learning_rate": 1e-3})
    transfer(model, [1], BLOCKS, settings)
    assert {value.dtype for value in weights(model).values()} == {torch.bfloat16}
    assert not torch.equal(
        weights(model)["model.layers.0.mlp.up_proj.weight"],
        before["model.layers.0.mlp.up_proj.weight"],
    )


def test_weights_on_nvme_are_refused_before_anything_is_trained() -> None:
    """Not even the adapters are made; the cure is named."""
    on_nvme = EngineSettings(zero_stage=3, offload_weights="nvme", nvme_path="/nowhere")
    model = tiny_model("llama", layers=2)
    before = str(model), weights(model)
    settings = DriftSettings.model_validate(TRAINING)
    with pytest.raises(InvalidInputError, match=r"lora with offload_weights: nvme.*to cpu or none"):
        transfer(model, [1], BLOCKS, settings, 0.5, on_nvme)
    assert str(model) == before[0]
    assert all(torch.equal(value, before[1][name]) for name, value in weights(model).items())


def born_sharded(folder: str) -> dict[str, Tensor]:
    """The weights, gathered, of a sharded model that has gone through stage two and stayed one."""
    model: Any = load_sharded(folder)
    transfer(
        model,
        [1, 3],
        BLOCKS,
        DriftSettings.model_validate(TRAINING),
        0.5,
        EngineSettings(zero_stage=3),
    )
    assert all(
        is_partitioned(parameter) and not parameter.numel() for parameter in model.parameters()
    )
    assert "lora" not in str(model).lower()
    return {name: whole_tensor(parameter).clone() for name, parameter in model.named_parameters()}


@pytest.mark.slow
def test_adapters_are_merged_into_weights_that_no_rank_holds_whole(tmp_path: Path) -> None:
    """GPT-2 keeps its weights transposed, and no matrix divides evenly among three ranks."""
    folder = save_tiny("gpt2", tmp_path / "gpt2", layers=4)
    model = load_model(str(folder))
    transfer(
        model,
        [1, 3],
        BLOCKS,
        DriftSettings.model_validate(TRAINING),
        0.5,
        EngineSettings(zero_stage=0),
    )
    wanted = weights(model)
    for found in on_ranks(3, born_sharded, str(folder)):
        for name, tensor in found.items():
            assert (tensor - wanted[name]).norm() <= 1e-5 * wanted[name].norm(), name
