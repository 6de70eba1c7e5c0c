"""A stage two that is preempted and resumed ends as if nothing had happened."""

import io
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import tiny_model
from tests.trsp.training.resumable import (
    DRIFT,
    WAYS,
    ZERO_2,
    after,
    largest_difference,
    resumable_model,
    trained,
    weights,
)
from trsp.config import EngineSettings, HealSettings, LoraSettings
from trsp.engine.engine import Engine
from trsp.engine.optimizer_config import OptimizerConfig
from trsp.errors import InvalidInputError, PreemptedError

QUICK = WAYS | {"zero 3": EngineSettings(zero_stage=3, micro_batch=2)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("way", ["zero 0", "zero 2, offload", "zero 3"])
def test_a_resumed_training_is_bit_equal(tmp_path: Path, way: str, dtype: torch.dtype) -> None:
    """Left after the first step, in the middle, when the branches are gone, and after the last."""
    wanted, record = trained(QUICK[way], dtype=dtype)
    for steps in (1, 2, 2, 1):
        with pytest.raises(PreemptedError):
            trained(QUICK[way], tmp_path, after(steps), dtype)
    found, resumed = trained(QUICK[way], tmp_path, dtype=dtype)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert resumed.model_copy(update={"seconds": 0}) == record.model_copy(update={"seconds": 0})


def test_of_adapters_only_the_adapters_are_kept(tmp_path: Path) -> None:
    """Written under ZeRO 3 and read under ZeRO 2, which keeps other ranges."""
    settings = DRIFT.model_copy(update={"lora": LoraSettings(rank=2)})
    wanted, _ = trained(ZERO_2, settings=settings)
    with pytest.raises(PreemptedError):
        trained(QUICK["zero 3"], tmp_path, after(3), settings=settings)
    kept = load_file(next(tmp_path.rglob("*.safetensors")))
    assert all(".lora_" in name for name in kept if not name.startswith("generator/"))
    found, _ = trained(ZERO_2, tmp_path, settings=settings)
    assert largest_difference(found, wanted) < 1e-5
    assert largest_difference(found, weights(resumable_model())) > 1e-3


@pytest.mark.parametrize("older", [False, True], ids=["of what stays", "of all layers"])
def test_a_healed_training_goes_on_from_a_snapshot(
    tmp_path: Path, older: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written under ZeRO 3, read under ZeRO 2; older versions kept the layers that go as well."""
    healed = HealSettings.model_validate(
        DRIFT.model_dump(include=set(HealSettings.model_fields) - {"name"})
    )
    wanted, _ = trained(ZERO_2, settings=healed)
    with monkeypatch.context() as patch:
        if older:
            patch.setattr("trsp.transfer._learning", lambda model, *_: list(model.parameters()))
        with pytest.raises(PreemptedError):
            trained(QUICK["zero 3"], tmp_path, after(3), settings=healed)
    kept = load_file(next(tmp_path.rglob("*.safetensors")))
    assert any(".layers.1." in name for name in kept) == older
    found, _ = trained(ZERO_2, tmp_path, settings=healed)
    assert largest_difference(found, wanted) < 1e-5


def test_without_its_optimizer_a_resumed_training_would_differ(tmp_path: Path) -> None:
    """The tests of equality can fail: moments of zero give other weights."""
    wanted, _ = trained(QUICK["zero 0"])
    with pytest.raises(PreemptedError):
        trained(QUICK["zero 0"], tmp_path, after(3))
    (file,) = tmp_path.rglob("*.safetensors")
    tensors = load_file(file)
    meta = {"steps": "3", "adam_steps": "3"}
    size = file.stat().st_size
    save_file(
        {name: each * 0 if name.startswith("exp") else each for name, each in tensors.items()},
        file,
        meta,
    )
    state = next(tmp_path.rglob("state.json"))
    state.write_text(state.read_text().replace(f": {size}", f": {file.stat().st_size}"))
    found, _ = trained(QUICK["zero 0"], tmp_path)
    assert largest_difference(found, wanted) > 1e-3


def test_random_generators_go_on() -> None:
    stream = io.BytesIO()
    with Engine(tiny_model("llama"), ZERO_2, 1, OptimizerConfig(1e-3, steps=1)) as engine:
        engine.save_state(stream)
        wanted = torch.rand(3)
        torch.manual_seed(5)
        stream.seek(0)
        engine.load_state([stream])
    assert torch.equal(torch.rand(3), wanted)


def test_a_snapshot_of_another_model_is_refused() -> None:
    stream = io.BytesIO()
    with Engine(tiny_model("llama"), ZERO_2, 1, OptimizerConfig(1e-3, steps=1)) as engine:
        engine.save_state(stream)
    stream.seek(0)
    with (
        Engine(tiny_model("llama", layers=7), ZERO_2, 1, OptimizerConfig(1e-3, steps=1)) as engine,
        pytest.raises(
            InvalidInputError, match=r"lacks 1024 of 1024 elements of master of model.layers.6"
        ),
    ):
        engine.load_state([stream])
