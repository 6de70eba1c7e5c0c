"""Loading with clear errors, saving, sizes and the model card."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import PreTrainedModel, T5Config

from tests.tiny import save_tiny, tiny_model, tiny_tokenizer
from trsp.checkpoints.checkpoint import (
    dense_record,
    load_model,
    load_tokenizer,
    save_checkpoint,
)
from trsp.distributed.device import resolve_dtype
from trsp.errors import InvalidInputError, UnknownFamilyError
from trsp.surgery import remove_layers


@pytest.fixture
def copy(tiny_llama: Path, tmp_path: Path) -> Path:
    """A copy of the tiny llama that a test may damage."""
    return Path(shutil.copytree(tiny_llama, tmp_path / "a copy"))


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_loads_in_eval_mode_from_a_path_with_spaces(copy: Path) -> None:
    model = load_model(str(copy), device="cpu")
    assert not model.training
    assert model.dtype == torch.float32
    assert load_tokenizer(str(copy)).bos_token == "<bos>"


@pytest.mark.parametrize(
    ("precision", "config_dtype", "wanted"),
    [
        ("auto", "float16", torch.bfloat16),
        ("auto", "bfloat16", torch.bfloat16),
        ("auto", "torch.float32", torch.float32),
        ("auto", torch.float16, torch.bfloat16),
        ("auto", None, torch.float32),
        ("bf16", "float32", torch.bfloat16),
        ("fp32", "bfloat16", torch.float32),
    ],
)
def test_precision(precision: str, config_dtype: str | None, wanted: torch.dtype) -> None:
    assert resolve_dtype(precision, config_dtype) is wanted  # type: ignore[arg-type]


def test_an_unknown_precision_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match=r"unknown precision 'fp23'.*did you mean 'fp32'"):
        resolve_dtype("fp23", None)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["int8", "no_such", "Tensor"])
def test_a_config_without_a_dtype_of_floats_is_refused(dtype: str) -> None:
    with pytest.raises(InvalidInputError, match=f"dtype is '{dtype}'; float32, bfloat16"):
        resolve_dtype("auto", dtype)


def test_a_float16_checkpoint_is_loaded_in_bfloat16(tmp_path: Path) -> None:
    folder = save_tiny("opt", tmp_path / "opt", dtype=torch.float16)
    assert load_model(str(folder), device="cpu").dtype == torch.bfloat16
    assert load_model(str(folder), precision="fp32", device="cpu").dtype == torch.float32


def test_missing_folder_says_so() -> None:
    with pytest.raises(InvalidInputError, match=r"model folder './no/such' does not exist"):
        load_model("./no/such")


def test_a_hub_name_out_of_reach_says_so() -> None:
    with pytest.raises(
        InvalidInputError, match=r"'nobody/nothing' .revision main. is no local folder"
    ):
        load_model("nobody/nothing")


def test_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"has no config\.json"):
        load_model(str(tmp_path))


def test_config_that_is_not_json(copy: Path) -> None:
    (copy / "config.json").write_text("{")
    with pytest.raises(InvalidInputError, match="not valid JSON"):
        load_model(str(copy))


def test_unknown_family_is_refused_before_weights_are_read(copy: Path) -> None:
    edit_config(copy, model_type="mamba")
    (copy / "model.safetensors").unlink()
    with pytest.raises(UnknownFamilyError, match="known are gemma2"):
        load_model(str(copy))


def test_encoder_decoder_is_refused(tmp_path: Path) -> None:
    T5Config(num_layers=2).save_pretrained(tmp_path)
    with pytest.raises(InvalidInputError, match="encoder-decoder"):
        load_model(str(tmp_path))


def test_gpt2_that_scales_by_layer_index_is_refused(tmp_path: Path) -> None:
    folder = save_tiny("gpt2", tmp_path / "gpt2")
    edit_config(folder, scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(InvalidInputError, match="scale_attn_by_inverse_layer_idx"):
        load_model(str(folder))


def test_saved_record_counts_tied_weights_once(tmp_path: Path) -> None:
    model = tiny_model("llama", dtype=torch.bfloat16)
    dense = dense_record(model)
    remove_layers(model, (1, 4))
    record = save_checkpoint(
        model, tiny_tokenizer(), tmp_path / "out", card="# x\n", removed_layers=(4, 1)
    )

    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as stored:
        sizes = {name: stored.get_tensor(name).numel() for name in stored.keys()}  # noqa: SIM118 - not a dict
    assert record.params == sum(sizes.values())
    assert "lm_head.weight" not in sizes
    assert record.removed_layers == (4, 1)
    assert record.layers == 4
    assert record.size_bytes == (tmp_path / "out" / "model.safetensors").stat().st_size
    assert (
        record.kv_bytes_per_token == 2 * 2 * 8 * 2 * 4
    )  # keys and values, 2 heads, 8 wide, 2 bytes, 4 layers
    assert dense.layers == 6
    assert dense.kv_bytes_per_token == record.kv_bytes_per_token * 6 // 4
    assert dense.params - record.params == 2 * sum(
        n for name, n in sizes.items() if name.startswith("model.layers.0.")
    )
    assert 0 < record.size_bytes - 2 * record.params < 20_000


def test_weights_are_as_readable_as_the_other_files_and_sharded_on_demand(tmp_path: Path) -> None:
    model = tiny_model("llama")
    record = save_checkpoint(
        model,
        tiny_tokenizer(),
        tmp_path / "out",
        card="# x\n",
        removed_layers=(),
        max_shard_size="50KB",
    )
    shards = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(shards) > 1
    assert record.size_bytes == sum(shard.stat().st_size for shard in shards)
    assert {shard.stat().st_mode for shard in shards} == {
        (tmp_path / "out" / "config.json").stat().st_mode
    }
    again = load_model(str(tmp_path / "out"), device="cpu")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_a_generation_config_that_transformers_would_not_write_today_is_kept(
    copy: Path, tmp_path: Path
) -> None:
    """Llama 2 chat on the hub sets a temperature without sampling; a strict save refuses that."""
    path = copy / "generation_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"temperature": 0.6, "do_sample": False})
    )
    model = load_model(str(copy), device="cpu")
    remove_layers(model, (3,))
    save_checkpoint(
        model, load_tokenizer(str(copy)), tmp_path / "out", card="# x\n", removed_layers=(3,)
    )
    assert (
        json.loads((tmp_path / "out" / "generation_config.json").read_text())["temperature"] == 0.6
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_not_written(tmp_path: Path, value: float) -> None:
    model = tiny_model("llama", layers=2)
    model.model.layers[1].self_attn.q_proj.weight.data[0, 3] = value
    with pytest.raises(InvalidInputError, match=r"1 of .*layers\.1\.self_attn\.q_proj.*intact"):
        save_checkpoint(model, tiny_tokenizer(), tmp_path / "new", card="", removed_layers=())
    assert not (tmp_path / "new").exists()


def test_weights_are_read_straight_to_their_device(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by way of the host: nothing moves the model afterwards, and no hook moves its inputs."""
    monkeypatch.setattr(
        PreTrainedModel, "to", lambda *_, **__: pytest.fail("the model was moved once loaded")
    )
    loaded = load_model(str(copy), device="cpu")
    assert {parameter.device.type for parameter in loaded.parameters()} == {"cpu"}
    assert not any("_hf_hook" in vars(module) for module in loaded.modules())
