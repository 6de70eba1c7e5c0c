"""Sizes read off a config.json, against real models.

These are the models that transformers makes of the config, and what autograd keeps of them.
"""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.tiny import tiny_config
from trsp.architecture.decoders import decoder_layers
from trsp.architecture.families import FAMILIES
from trsp.architecture.family_weights import FAMILY_WEIGHTS
from trsp.architecture.shape import model_shape
from trsp.gates import gated

# Published sizes. They show what no tiny model does: projections around the embedding, fused
# widths, defaults.
KNOWN: dict[str, tuple[str, dict[str, Any], int]] = {
    "Llama-2-7b": ("llama", {}, 6_738_415_616),
    "Llama-2-13b": (
        "llama",
        {
            "hidden_size": 5120,
            "intermediate_size": 13824,
            "num_hidden_layers": 40,
            "num_attention_heads": 40,
        },
        13_015_864_320,
    ),
    "Llama-3.1-70B": (
        "llama",
        {
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
        },
        70_553_706_496,
    ),
    "gpt2": ("gpt2", {}, 124_439_808),
    "opt-350m": (
        "opt",
        {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "ffn_dim": 4096,
            "num_attention_heads": 16,
            "word_embed_proj_dim": 512,
            "do_layer_norm_before": False,
        },
        331_196_416,
    ),
    "phi-2": (
        "phi",
        {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32},
        2_779_683_840,
    ),
}


def meta_model(config: Any) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def test_the_table_has_every_family() -> None:
    assert FAMILY_WEIGHTS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_by_part(family: str, tmp_path: Any) -> None:
    config = tiny_config(family)
    config.save_pretrained(tmp_path)
    written = AutoConfig.from_pretrained(tmp_path).to_dict()
    for source in (config.to_diff_dict(), written):
        shape = model_shape(source)
        model = meta_model(config)
        layer = decoder_layers(model)[0]
        assert shape.params == sum(parameter.numel() for parameter in model.parameters())
        assert shape.layer_params == sum(parameter.numel() for parameter in layer.parameters())
        assert shape.embedding_params >= model.get_input_embeddings().weight.numel()
        matrices = {parameter.numel() for parameter in layer.parameters() if parameter.ndim == 2}
        assert matrices == {inputs * outputs for _, inputs, outputs in shape.linears}


@pytest.mark.parametrize("name", KNOWN)
def test_published_sizes(name: str) -> None:
    family, settings, params = KNOWN[name]
    config = AutoConfig.for_model(family, **settings)
    assert model_shape({"model_type": family, **config.to_dict()}).params == params
    assert sum(parameter.numel() for parameter in meta_model(config).parameters()) == params


# --- what a layer saves for its backward pass ---

TOKENS = 64
NO_WINDOW = {"sliding_window": 4 * TOKENS, "use_sliding_window": False}


def saved_bytes(family: str, layers: int, dtype: torch.dtype, trained: bool) -> int:
    """Return the bytes of all storages that autograd saves in a forward pass, weights left out."""
    config = tiny_config(family, layers)
    for key, value in NO_WINDOW.items():
        if hasattr(config, key):
            setattr(config, key, value)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(trained)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    gates = torch.ones(layers).requires_grad_()
    dressed = nullcontext() if trained else gated(model, gates, range(layers), "residual")
    with dressed, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(input_ids=torch.arange(TOKENS)[None], use_cache=False)
    return sum(
        tensor.untyped_storage().nbytes()
        for address, tensor in storages.items()
        if address not in weights
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("trained", [True, False], ids=["trained", "frozen"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
def test_what_a_layer_saves_of_a_token(family: str, trained: bool, dtype: torch.dtype) -> None:
    """The table leaves out logarithms of the softmax's sums and a number or two of each norm."""
    shape = model_shape(tiny_config(family).to_dict())
    four, two = (saved_bytes(family, layers, dtype, trained) for layers in (4, 2))
    of_one_layer = (four - two) / 2 / TOKENS
    saved = shape.saved_if_trained if trained else shape.saved_if_frozen
    estimated = saved.bytes(dtype.itemsize) + TOKENS * shape.square_bytes
    assert estimated == pytest.approx(of_one_layer, rel=0.06)
