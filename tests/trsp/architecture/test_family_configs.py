"""What a config.json means for pruning: layer types, the config that is left, and refusals."""

from typing import Any

import pytest

from trsp.architecture.families import check_supported, layer_types, pruned_config
from trsp.errors import InvalidInputError, UnknownFamilyError


def test_layer_types_are_cut_by_index_not_shortened() -> None:
    kinds = ("sliding_attention", "full_attention")
    dense = {
        "model_type": "gemma3_text",
        "num_hidden_layers": 6,
        "layer_types": [kinds[i in (1, 3, 5)] for i in range(6)],
    }
    assert layer_types(pruned_config(dense, (0, 2, 5))) == (kinds[1], kinds[1], kinds[0])


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "gemma2", "gemma3_text"])
def test_layer_types_left_out_of_a_config_are_derived_as_transformers_does(family: str) -> None:
    """Older files on the hub have no ``layer_types``.

    After pruning the rule no longer holds, so they are written out.
    """
    from transformers import AutoConfig

    settings = {
        "num_hidden_layers": 7,
        "use_sliding_window": True,
        "max_window_layers": 3,
        "sliding_window": 8,
    }
    settings |= {"sliding_window_pattern": 3} if family == "gemma3_text" else {}
    plain = {"model_type": family, **settings}
    assert list(layer_types(plain)) == AutoConfig.for_model(family, **settings).layer_types
    cut = pruned_config(plain, (0, 4))
    assert cut["layer_types"] == [
        kind for i, kind in enumerate(layer_types(plain)) if i not in (0, 4)
    ]
    assert cut["max_window_layers"] == 2
    assert "sliding_window_pattern" not in cut or family != "gemma3_text"


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (
            {"model_type": "mamba"},
            UnknownFamilyError,
            "unknown model family 'mamba': known are gemma2, gemma3_text, gpt2",
        ),
        ({"model_type": "lama"}, UnknownFamilyError, "did you mean 'llama'"),
        ({}, UnknownFamilyError, "no model_type"),
        (
            {"model_type": "t5", "is_encoder_decoder": True},
            InvalidInputError,
            "'t5' is an encoder-decoder model",
        ),
        (
            {"model_type": "gpt2", "n_layer": 4, "scale_attn_by_inverse_layer_idx": True},
            InvalidInputError,
            "scale_attn_by_inverse_layer_idx=true cannot be pruned",
        ),
        (
            {
                "model_type": "llama",
                "num_hidden_layers": 4,
                "quantization_config": {"quant_method": "gptq"},
            },
            InvalidInputError,
            "quantized .gptq.*original float checkpoint",
        ),
        ({"model_type": "llama"}, InvalidInputError, "num_hidden_layers is None"),
        ({"model_type": "llama", "num_hidden_layers": 1}, InvalidInputError, "at least 2"),
        (
            {"model_type": "qwen2", "num_hidden_layers": 2, "layer_types": ["full_attention"] * 3},
            InvalidInputError,
            "layer_types has 3 entries for 2 layers",
        ),
    ],
)
def test_models_that_cannot_be_pruned_are_refused_by_their_config(
    config: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        check_supported(config)
