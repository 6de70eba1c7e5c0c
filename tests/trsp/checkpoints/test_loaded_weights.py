"""Weights that are not what their config says, or are pickles, are refused by every way to load."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests.tiny import LAYERS, save_tiny, tiny_model, tiny_tokenizer
from trsp.checkpoints.checkpoint import load_model, save_checkpoint
from trsp.engine.load_sharded import load_sharded
from trsp.errors import InvalidInputError
from trsp.surgery import remove_layers

Load = Callable[[str], Any]
every_way = pytest.mark.parametrize("load", [load_model, load_sharded])


@pytest.fixture
def copy(tiny_llama: Path, tmp_path: Path) -> Path:
    """A copy of the tiny llama that a test may damage."""
    return Path(shutil.copytree(tiny_llama, tmp_path / "a copy"))


def add_tensors(folder: Path, **tensors: Tensor) -> None:
    path = folder / "model.safetensors"
    save_file({**load_file(path), **tensors}, path, metadata={"format": "pt"})


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@every_way
def test_pickled_weights_are_refused_with_the_cure(copy: Path, load: Load) -> None:
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(InvalidInputError, match=r"pickled weights.*save it with save_pretrained"):
        load(str(copy))


def test_pickles_beside_safetensors_are_not_opened(copy: Path) -> None:
    (copy / "pytorch_model.bin").write_bytes(b"no pickle at all")
    load_model(str(copy))


def test_the_hub_is_asked_for_safetensors_of_that_revision_alone(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pickles, and none that a robot has converted in another revision."""
    asked: dict[str, Any] = {}
    read = AutoModelForCausalLM.from_pretrained

    def noting(source: str, **settings: Any) -> Any:
        from transformers.modeling_utils import is_env_variable_true

        asked.update(settings, converts=not is_env_variable_true("DISABLE_SAFETENSORS_CONVERSION"))
        return read(source, **settings)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", noting)
    monkeypatch.delenv("DISABLE_SAFETENSORS_CONVERSION", raising=False)
    load_model(str(tiny_llama))
    assert (asked["use_safetensors"], asked["converts"]) == (True, False)


def test_a_repository_without_safetensors_gets_the_same_refusal(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_there(*_: object, **__: object) -> None:
        raise OSError("me/model does not appear to have a file named model.safetensors.")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", none_there)
    with pytest.raises(InvalidInputError, match=r"pickled weights.*save it with save_pretrained"):
        load_model(str(tiny_llama))


@every_way
def test_a_config_with_fewer_layers_than_the_weights_is_refused(copy: Path, load: Load) -> None:
    edit_config(copy, num_hidden_layers=LAYERS - 2)
    with pytest.raises(InvalidInputError, match=r"says 4 layers|num_hidden_layers is 4"):
        load(str(copy))


@every_way
def test_a_bias_that_the_config_knows_nothing_of_is_refused(copy: Path, load: Load) -> None:
    add_tensors(copy, **{"model.layers.0.self_attn.q_proj.bias": torch.zeros(32)})
    with pytest.raises(InvalidInputError, match=r"q_proj\.bias, which its config"):
        load(str(copy))


@every_way
@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
        ("llama", "v_head.summary.weight"),
        ("gpt2", "transformer.h.0.attn.bias"),
        ("gpt2", "transformer.h.0.attn.masked_bias"),
        ("gpt_neox", "gpt_neox.layers.0.attention.bias"),
    ],
)
def test_what_a_model_does_without_may_be_there(
    family: str, name: str, tmp_path: Path, load: Load
) -> None:
    folder = save_tiny(family, tmp_path / "in", layers=2)
    add_tensors(folder, **{name: torch.zeros(3)})
    load(str(folder))


@every_way
def test_a_tensor_of_another_shape_is_refused(copy: Path, load: Load) -> None:
    add_tensors(copy, **{"model.norm.weight": torch.zeros(33)})
    with pytest.raises(InvalidInputError):
        load(str(copy))


# --- saving where an earlier checkpoint lies -------------------------------------------


def save(folder: Path, removed: tuple[int, ...] = (), max_shard_size: str = "5GB") -> Any:
    model = tiny_model("llama")
    remove_layers(model, removed)
    save_checkpoint(
        model,
        tiny_tokenizer(),
        folder,
        card="# x\n",
        removed_layers=removed,
        max_shard_size=max_shard_size,
    )
    return model


def weight_files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if "safetensors" in path.name}


@pytest.mark.parametrize(
    ("before", "after"), [("50KB", "5GB"), ("5GB", "50KB"), ("50KB", "100KB")], ids=str
)
def test_nothing_of_an_earlier_checkpoint_stays(tmp_path: Path, before: str, after: str) -> None:
    save(tmp_path / "clean", (1,), after)
    save(tmp_path / "used", (), before)
    saved = save(tmp_path / "used", (1,), after)
    assert weight_files(tmp_path / "used") == weight_files(tmp_path / "clean")
    again = load_model(str(tmp_path / "used")).state_dict()
    assert all(torch.equal(again[name], value) for name, value in saved.state_dict().items())


def test_other_files_of_the_folder_stay(tmp_path: Path) -> None:
    for name in ("adapter_model.safetensors", "notes.txt", "model-card.safetensors"):
        (tmp_path / name).write_bytes(b"mine")
    save(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").read_bytes() == b"mine"
    assert (tmp_path / "model-card.safetensors").read_bytes() == b"mine"


def test_a_model_can_be_saved_where_it_was_loaded_from(copy: Path) -> None:
    model = load_model(str(copy))
    wanted = {name: value.clone() for name, value in model.state_dict().items()}
    save_checkpoint(model, tiny_tokenizer(), copy, card="# x\n", removed_layers=())
    again = load_model(str(copy)).state_dict()
    assert all(torch.equal(again[name], value) for name, value in wanted.items())
