"""Rows per forward pass where nobody has said how many."""

import pytest

from tests.tiny import FAMILY_SETTINGS, tiny_config, tiny_model
from trsp.architecture.shape import model_shape
from trsp.batch_sizes import rows_at_once, tokens_on_gpu
from trsp.chunk_sizes import CPU_PASS_TOKENS, GPU_PASS_TOKENS

_GB = 10**9
LLAMA3_8B = model_shape(
    {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "dtype": "bfloat16",
    }
)


def test_a_cpu_takes_one_row_unless_rows_are_short() -> None:
    model = tiny_model("llama")
    assert rows_at_once(model, 2048) == rows_at_once(model, CPU_PASS_TOKENS) == 1
    assert rows_at_once(model, 100) == 5


def test_weights_that_wait_on_a_disk_are_no_device_to_fill() -> None:
    """transformers leaves them on ``meta``, which has no free memory to ask for."""
    assert rows_at_once(tiny_model("llama").to("meta"), 100) == 5


def test_a_gpu_with_room_is_kept_busy() -> None:
    assert tokens_on_gpu(LLAMA3_8B, 2048, 2, 60 * _GB) == GPU_PASS_TOKENS


def test_a_gpu_takes_no_more_than_half_of_what_is_free() -> None:
    tokens = tokens_on_gpu(LLAMA3_8B, 2048, 2, 5 * _GB)
    logits_bytes = tokens * 128256 * 2
    assert 1 * _GB < 3 * logits_bytes < 2.5 * _GB


def test_logits_that_are_scored_have_room_beside_a_pass() -> None:
    """On a small part of a GPU they are more than half of what is free."""
    free_bytes = 3 * _GB // 2
    tokens = tokens_on_gpu(LLAMA3_8B, 2048, 2, free_bytes)
    assert 0 < 3 * tokens * 128256 * 2 < free_bytes - 2**30


def test_a_full_gpu_still_takes_one_row() -> None:
    assert tokens_on_gpu(LLAMA3_8B, 2048, 2, 0) == 0  # and rows_per_pass makes at least one of it


@pytest.mark.parametrize("family", sorted(FAMILY_SETTINGS))
def test_the_size_of_a_loaded_model_is_read_off_its_config(family: str) -> None:
    shape = model_shape(tiny_config(family).to_dict())
    assert tokens_on_gpu(shape, 64, 4, _GB) == GPU_PASS_TOKENS
