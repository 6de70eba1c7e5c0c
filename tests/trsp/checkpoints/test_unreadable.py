"""Checkpoints that cannot be read: what is bad input, and what may be read at the next attempt."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx2 as httpx
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from tests.trsp.checkpoints.test_checkpoint import edit_config
from trsp.checkpoints.checkpoint import load_model, load_tokenizer
from trsp.errors import InvalidInputError, UnreachableError


@pytest.fixture
def copy(tiny_llama: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_llama, tmp_path / "a copy")


def test_missing_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(InvalidInputError, match=r"has no \*\.safetensors"):
        load_model(str(copy))


def test_truncated_weights(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InvalidInputError, match=r"weights of .* cannot be read"):
        load_model(str(copy))


def test_weights_that_lack_a_layer_are_not_filled_with_noise(copy: Path) -> None:
    edit_config(copy, num_hidden_layers=7)
    with pytest.raises(InvalidInputError, match=r"num_hidden_layers is 7, but they lack layer 6"):
        load_model(str(copy))


def test_folder_without_tokenizer(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer_config.json").unlink()
    with pytest.raises(InvalidInputError, match="tokenizer of"):
        load_tokenizer(str(copy))


def test_a_damaged_tokenizer_says_so(copy: Path) -> None:
    (copy / "tokenizer.json").write_text('{"model": 3}', encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"the tokenizer of .* cannot be read"):
        load_tokenizer(str(copy))


@pytest.mark.parametrize(
    ("broken", "load"),
    [("AutoModelForCausalLM", load_model), ("AutoTokenizer", load_tokenizer)],
)
def test_a_file_system_in_trouble_is_no_bad_input(
    broken: str, load: Callable[[str], object], copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(f"transformers.{broken}.from_pretrained", stale)
    with pytest.raises(UnreachableError, match=r"cannot be read now: .*Stale file handle; try"):
        load(str(copy))


def test_a_hub_that_gives_no_answer_is_no_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_answer(*_: object, **__: object) -> None:
        raise LocalEntryNotFoundError("not in the cache") from httpx.ConnectTimeout("timed out")

    monkeypatch.setattr("trsp.checkpoints.model_source.hf_hub_download", no_answer)
    with pytest.raises(UnreachableError, match="could not be read from the hub"):
        load_model("nobody/nothing")


def test_a_hub_whose_error_says_nothing_is_named_by_its_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_answer(*_: object, **__: object) -> None:
        raise TimeoutError

    monkeypatch.setattr("trsp.checkpoints.model_source.hf_hub_download", no_answer)
    with pytest.raises(UnreachableError, match="could not be read from the hub: TimeoutError;"):
        load_model("nobody/nothing")


def test_weights_that_transformers_finds_too_small_are_bad_input(copy: Path) -> None:
    """Of a norm, whose size nothing but the model's code tells."""
    tensors = load_file(copy / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"][:16].clone()
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidInputError, match=r"are not of the sizes .* one checkpoint"):
        load_model(str(copy))
