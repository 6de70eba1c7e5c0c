"""Models that are whole on no rank: every family, every way a checkpoint may be written."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.tiny import contents, save_tiny, tiny_model, tiny_tokenizer
from trsp.architecture.families import FAMILIES
from trsp.checkpoints.checkpoint import (
    dense_record,
    load_model,
    needs_several_gpus,
    save_checkpoint,
)
from trsp.checkpoints.model_source import read_config
from trsp.config import EngineSettings, Precision
from trsp.distributed.zero3_parameters import is_sharded, whole_tensor
from trsp.engine.engine import Engine
from trsp.engine.load_sharded import load_sharded
from trsp.errors import InvalidInputError


@pytest.fixture
def copy(tiny_llama: Path, tmp_path: Path) -> Path:
    """A copy of the tiny llama that a test may damage."""
    return Path(shutil.copytree(tiny_llama, tmp_path / "a copy"))


def edit_weights(folder: Path, edit: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    path = folder / "model.safetensors"
    save_file(edit(load_file(path)), path, metadata={"format": "pt"})


def assert_same(found: Iterable[tuple[str, Tensor]], wanted: Iterable[tuple[str, Tensor]]) -> None:
    """Names, dtypes and all values; a partitioned parameter's are gathered."""
    for (name, tensor), (wanted_name, wanted_tensor) in zip(found, wanted, strict=True):
        assert name == wanted_name
        assert tensor.dtype is wanted_tensor.dtype
        assert torch.equal(whole_tensor(tensor), wanted_tensor)


@pytest.mark.parametrize("precision", ["auto", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_is_what_a_whole_load_gives_and_saves_the_same_bytes(
    family: str, precision: Precision, tmp_path: Path
) -> None:
    source = str(save_tiny(family, tmp_path / "in", layers=2))
    whole, sharded = load_model(source, None, precision), load_sharded(source, None, precision)
    assert is_sharded(sharded)
    assert not sharded.training
    assert dense_record(sharded) == dense_record(whole)
    assert all(parameter.numel() == 0 for parameter in sharded.parameters())
    assert_same(sharded.named_parameters(), whole.named_parameters())
    assert_same(sharded.named_buffers(), whole.named_buffers())

    records = {}
    for name, model in (("whole", whole), ("sharded", sharded)):
        records[name] = save_checkpoint(
            model,
            tiny_tokenizer(),
            tmp_path / name,
            card="# x\n",
            removed_layers=(),
            max_shard_size="20KB",
        )
    assert records["sharded"] == records["whole"]
    assert contents(tmp_path / "sharded") == contents(tmp_path / "whole")
    assert len(list((tmp_path / "whole").glob("*.safetensors"))) > 1


@pytest.mark.parametrize(
    ("family", "prefix"), [("gpt2", "transformer."), ("opt", "model."), ("llama", "model.")]
)
def test_names_without_the_base_models_prefix(family: str, prefix: str, tmp_path: Path) -> None:
    """As gpt2 and opt lie on the hub."""
    folder = save_tiny(family, tmp_path / "in", layers=2)
    edit_weights(
        folder,
        lambda tensors: {name.removeprefix(prefix): tensor for name, tensor in tensors.items()},
    )
    for wanted, found in zip(
        tiny_model(family, 2).parameters(), load_sharded(str(folder)).parameters(), strict=True
    ):
        assert torch.equal(whole_tensor(found), wanted)


def test_former_names(tmp_path: Path) -> None:
    """gpt_neox calls its head embed_out in files, and lm_head in memory; both are read.

    The former is written.
    """
    folder = save_tiny("gpt_neox", tmp_path / "in", layers=2)
    assert "embed_out.weight" in load_file(folder / "model.safetensors")
    wanted = tiny_model("gpt_neox", 2).lm_head.weight
    assert torch.equal(whole_tensor(load_sharded(str(folder)).lm_head.weight), wanted)
    edit_weights(
        folder,
        lambda tensors: {
            name.replace("embed_out", "lm_head"): each for name, each in tensors.items()
        },
    )
    assert torch.equal(whole_tensor(load_sharded(str(folder)).lm_head.weight), wanted)


def test_tied_weights_under_either_name_or_both(copy: Path) -> None:
    embedding = "model.embed_tokens.weight"
    wanted = load_file(copy / "model.safetensors")[embedding]
    for names in ({embedding}, {"lm_head.weight"}, {embedding, "lm_head.weight"}):
        edit_weights(
            copy,
            lambda tensors, names=names: (
                without_embedding(tensors) | {name: wanted.clone() for name in names}
            ),
        )
        model = load_sharded(str(copy))
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert torch.equal(whole_tensor(model.lm_head.weight), wanted)
    edit_weights(copy, lambda tensors: tensors | {"lm_head.weight": wanted + 1})
    with pytest.raises(
        InvalidInputError, match=r"embed_tokens\.weight.* differ, but the config ties them"
    ):
        load_sharded(str(copy))


def without_embedding(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor
        for name, tensor in tensors.items()
        if "embed" not in name and "lm_head" not in name
    }


def test_reads_shards_by_their_index(tmp_path: Path) -> None:
    wanted = tiny_model("llama")
    wanted.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    for parameter, each in zip(
        wanted.parameters(), load_sharded(str(tmp_path)).parameters(), strict=True
    ):
        assert torch.equal(whole_tensor(each), parameter)
    next(tmp_path.glob("*-00002-of-*")).unlink()
    with pytest.raises(InvalidInputError, match=r"model-00002-of-\d+\.safetensors is missing"):
        load_sharded(str(tmp_path))


def test_an_unusable_checkpoint_is_refused_with_the_cure(copy: Path, tmp_path: Path) -> None:
    weights = copy / "model.safetensors"
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 7}))
    with pytest.raises(
        InvalidInputError,
        match=r"lack 9 of .* first is model\.layers\.6\..* take a complete checkpoint",
    ):
        load_sharded(str(copy))
    (copy / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    with pytest.raises(InvalidInputError, match=r"has the shape \[\d+, \d+\], the config asks for"):
        load_sharded(str(copy))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InvalidInputError, match=r"weights of .* cannot be read"):
        load_sharded(str(copy))
    weights.rename(copy / "pytorch_model.bin")
    with pytest.raises(InvalidInputError, match="pickled weights"):
        load_sharded(str(copy))


@pytest.mark.parametrize("settings", [EngineSettings(zero_stage=2), EngineSettings(zero_stage=0)])
def test_needs_zero_3(settings: EngineSettings, tiny_llama: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"need ZeRO 3"):
        load_sharded(str(tiny_llama), engine=settings)
    with pytest.raises(InvalidInputError, match=r"needs ZeRO 3"):
        Engine(load_sharded(str(tiny_llama)), settings, 1)


def test_spreads_over_several_gpus_only_what_one_cannot_hold(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, size = read_config(str(tiny_llama)), dense_record(tiny_model("llama")).size_bytes
    for gpus, free, wanted in ((1, size, False), (2, 2 * size, False), (2, size, True)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, free))
        assert needs_several_gpus(config, torch.float32) is wanted
    assert not needs_several_gpus(config, torch.bfloat16)
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert not needs_several_gpus(config, torch.float32)
