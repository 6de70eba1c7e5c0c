"""A tiny model as a GGUF file, read back by transformers: the same logits, the same tokens."""

from pathlib import Path

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from orchestrator.export.gguf_file.write import write_gguf
from tests.orchestrator.export.gguf_file.tiny_checkpoint import save_tokenizer, saved
from tests.tiny import tiny_config, tiny_model, tiny_tokenizer
from trsp.errors import InvalidInputError

TEXT = "The old cat sees 12 green rivers, and isn't afraid where it is. "


def written(folder: Path) -> Path:
    """The file, in a folder of its own: beside a tokenizer.json it would not be read for tokens."""
    file = folder / "gguf" / "model.gguf"
    file.parent.mkdir(exist_ok=True)
    write_gguf(folder, "tiny", file)
    return file


def assert_same_logits(folder: Path) -> None:
    ids = torch.arange(24).reshape(2, 12)
    asked = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    file = written(folder)
    read = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    )
    with torch.no_grad():
        torch.testing.assert_close(read(ids).logits, asked(ids).logits, rtol=0, atol=1e-5)


def assert_same_tokens(folder: Path) -> None:
    asked = AutoTokenizer.from_pretrained(folder)(TEXT).input_ids
    file = written(folder)
    read = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    assert read(TEXT).input_ids == asked


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_what_is_read_back_gives_the_same_logits(family: str, tmp_path: Path) -> None:
    assert_same_logits(saved(tmp_path, family))


def test_heads_of_qwen3_have_a_width_of_their_own(tmp_path: Path) -> None:
    """transformers takes 128, qwen3's default, whatever a GGUF file says."""
    config = tiny_config("qwen3", layers=2)
    config.head_dim = 128
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    assert_same_logits(tmp_path)


def test_an_output_of_its_own_is_written(tmp_path: Path) -> None:
    folder = saved(tmp_path, "mistral")
    names = {tensor.name for tensor in GGUFReader(written(folder)).tensors}
    assert "output.weight" in names


def test_a_tied_output_is_not_written_twice(tmp_path: Path) -> None:
    names = {tensor.name for tensor in GGUFReader(written(saved(tmp_path))).tensors}
    assert "output.weight" not in names


@pytest.mark.parametrize(("dtype", "stored"), [(torch.bfloat16, "BF16"), (torch.float16, "F16")])
def test_matrices_are_as_stored_and_norms_f32(
    dtype: torch.dtype, stored: str, tmp_path: Path
) -> None:
    folder = saved(tmp_path)
    tiny_model("llama", 3, dtype=dtype).save_pretrained(folder)
    kinds = {t.name: t.tensor_type for t in GGUFReader(written(folder)).tensors}
    assert kinds["blk.2.attn_q.weight"] == GGMLQuantizationType[stored]
    assert kinds["blk.2.attn_norm.weight"] == GGMLQuantizationType.F32
    assert_same_logits(folder)


# --- the tokenizer --------------------------------------------------------------------------------


def test_merges_of_bytes_are_read_back(tmp_path: Path) -> None:
    assert_same_tokens(saved(tmp_path))


def test_merges_of_sentencepiece_are_read_back_from_scores(tmp_path: Path) -> None:
    save_tokenizer(saved(tmp_path), sentencepiece=True)
    assert_same_tokens(tmp_path)


def test_digits_one_by_one_are_said_to_be(tmp_path: Path) -> None:
    cut = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    save_tokenizer(saved(tmp_path), cut=cut)
    field = GGUFReader(written(tmp_path)).get_field("tokenizer.ggml.pre")
    assert field is not None
    assert field.contents() == "smollm"


def test_the_chat_template_goes_along(tmp_path: Path) -> None:
    (saved(tmp_path) / "chat_template.jinja").write_text("{{ messages }}")
    file = written(tmp_path)
    read = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    assert read.chat_template == "{{ messages }}"


# --- what is refused ------------------------------------------------------------------------------


def assert_refused(folder: Path, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        written(folder)
    assert not (folder / "gguf" / "model.gguf").exists()


def test_another_family_is_refused_with_the_cure(tmp_path: Path) -> None:
    assert_refused(
        saved(tmp_path, "olmo2"), r"this model is 'olmo2'; export --to .* convert_hf_to_gguf"
    )


def test_a_sliding_window_is_refused(tmp_path: Path) -> None:
    assert_refused(saved(tmp_path, "mistral", sliding_window=8), "over 8 tokens only")


def test_a_window_that_is_switched_off_is_none(tmp_path: Path) -> None:
    changes = {"sliding_window": 8, "use_sliding_window": False, "layer_types": None}
    assert written(saved(tmp_path, "qwen2", **changes)).exists()


def test_scaled_positions_are_refused(tmp_path: Path) -> None:
    scaled = {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}
    assert_refused(saved(tmp_path, **scaled), "rope_type 'llama3'")


def test_a_tokenizer_that_cuts_otherwise_is_refused(tmp_path: Path) -> None:
    save_tokenizer(saved(tmp_path), cut=pre_tokenizers.Whitespace())
    assert_refused(tmp_path, "this tokenizer is another")


def test_a_tokenizer_that_is_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    assert_refused(saved(tmp_path, vocab_size=260), "ids go up to 262.* has 260 tokens")


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    (saved(tmp_path) / "tokenizer.json").unlink()
    assert_refused(tmp_path, "this tokenizer is another")


def test_a_vocabulary_without_merges_is_refused(tmp_path: Path) -> None:
    """llama.cpp reads no byte-level BPE that lacks them."""
    tiny_tokenizer().save_pretrained(saved(tmp_path))
    assert_refused(tmp_path, "this tokenizer is another")
