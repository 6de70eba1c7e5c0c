"""Every family through the same tests: bypass, removal, and a checkpoint that a fresh process loads without us."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from tests.tiny import LAYERS, VOCABULARY, save_tiny, tiny_config, tiny_model, tiny_tokenizer
from trsp.architecture.decoders import decoder_layers, layer_hidden, layer_input, with_hidden
from trsp.architecture.families import (
    FAMILIES,
    check_supported,
    layer_count,
    layer_types,
    pruned_config,
)
from trsp.architecture.shape import model_shape
from trsp.checkpoints.checkpoint import load_model, load_tokenizer, save_checkpoint
from trsp.errors import InvalidInputError, UnknownFamilyError
from trsp.gates import Placement, gated
from trsp.surgery import bypassed, remove_layers

REMOVED = (
    0,
    2,
    5,
)  # the first, one in the middle, the last; shifts every later layer and mixes up layer types
TOLERANCE = 1e-5  # float32, logits of about 1

every_family = pytest.mark.parametrize("family", sorted(FAMILIES))


def input_ids(length: int = 24) -> Tensor:
    """Two sequences, three times as long as the tiny models' windows."""
    return torch.randint(0, 256, (2, length), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def logits(model: PreTrainedModel) -> Tensor:
    return model(input_ids(), use_cache=False).logits


@every_family
def test_nothing_bypassed_leaves_the_logits_equal(family: str) -> None:
    model = tiny_model(family)
    before = logits(model)
    with bypassed(model, ()):
        torch.testing.assert_close(logits(model), before, rtol=0, atol=0)


@every_family
@pytest.mark.parametrize("placement", ["output", "residual"])
def test_gates_at_one_leave_the_logits_equal(family: str, placement: Placement) -> None:
    model = tiny_model(family)
    before, gates = logits(model), torch.ones(LAYERS)
    with gated(model, gates, range(LAYERS), placement):
        torch.testing.assert_close(logits(model), before, rtol=0, atol=0)
        gates[2] = 0.5
        assert not torch.equal(logits(model), before), "the gates must be in the way"


@every_family
def test_a_residual_gate_at_zero_is_a_bypass(family: str) -> None:
    model, gates = tiny_model(family), torch.ones(LAYERS)
    gates[list(REMOVED)] = 0.0
    with bypassed(model, REMOVED):
        wanted = logits(model)
    with gated(model, gates, range(LAYERS), "residual"):
        torch.testing.assert_close(logits(model), wanted, rtol=0, atol=TOLERANCE)


@every_family
@pytest.mark.parametrize("removed", [(0,), (LAYERS - 1,), REMOVED, (1, 2, 3, 4, 5)], ids=str)
def test_removal_equals_bypass(family: str, removed: tuple[int, ...]) -> None:
    model = tiny_model(family)
    dense = logits(model)
    with bypassed(model, removed):
        wanted = logits(model)
    torch.testing.assert_close(logits(model), dense, rtol=0, atol=0)
    assert (wanted - dense).abs().max() > 0.1, (
        "the test must be able to tell these layers from nothing"
    )

    remove_layers(model, removed)

    torch.testing.assert_close(logits(model), wanted, rtol=0, atol=TOLERANCE)
    assert len(decoder_layers(model)) == model.config.num_hidden_layers == LAYERS - len(removed)


@every_family
def test_a_model_cut_in_place_generates_alike_with_and_without_the_cache(family: str) -> None:
    """Keys and values go to the place that ``layer_idx`` says: it must have been renumbered. Runs past every window."""
    model = tiny_model(family)
    remove_layers(model, REMOVED)
    cached, plain = (
        model.generate(
            input_ids(10),
            max_new_tokens=12,
            min_new_tokens=12,
            do_sample=False,
            use_cache=use_cache,
        )
        for use_cache in (True, False)
    )
    assert cached.shape == (2, 22)
    assert torch.equal(cached, plain)


@every_family
def test_layers_take_and_return_hidden_states_as_the_helpers_say(family: str) -> None:
    """A pre-hook sees what the layer before it returned, and a hook can replace a layer's output."""
    model = tiny_model(family)
    stack = decoder_layers(model)
    seen: dict[str, Tensor] = {}
    hooks = [
        stack[2].register_forward_hook(
            lambda _m, _args, output: with_hidden(output, 2 * layer_hidden(output))
        ),
        stack[2].register_forward_hook(
            lambda _m, _args, output: seen.update(output=layer_hidden(output))
        ),
        stack[3].register_forward_pre_hook(
            lambda _m, args, kwargs: seen.update(input=layer_input(args, kwargs)), with_kwargs=True
        ),
    ]
    changed = logits(model)
    for hook in hooks:
        hook.remove()
    assert seen["input"].shape == (2, 24, 32)
    assert torch.equal(seen["input"], seen["output"])
    assert not torch.equal(changed, logits(model))


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CHECKPOINTS/FAMILY and EXPECTED/FAMILY.safetensors: pruned models, and what the bypassed originals answer."""
    root = tmp_path_factory.mktemp("families")
    (root / "expected").mkdir()
    for family in FAMILIES:
        model = load_model(str(save_tiny(family, root / "dense" / family)), device="cpu")
        with bypassed(model, REMOVED):
            save_file(
                {"input_ids": input_ids(), "logits": logits(model)},
                root / "expected" / f"{family}.safetensors",
            )
        remove_layers(model, REMOVED)
        tokenizer = load_tokenizer(str(root / "dense" / family))
        save_checkpoint(
            model,
            tokenizer,
            root / "checkpoints" / family,
            card="# pruned\n",
            removed_layers=REMOVED,
        )
    return root


@pytest.fixture(scope="module")
def seen(pruned: Path) -> dict[str, dict[str, Any]]:
    """What one fresh process, without our packages, found of every checkpoint."""
    script = Path(__file__).with_name("fresh_process.py")
    command = [
        sys.executable,
        "-W",
        "error::FutureWarning",
        str(script),
        str(pruned / "checkpoints"),
        str(pruned / "expected"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=pruned, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@every_family
def test_a_fresh_process_gets_the_bypassed_models_logits(
    family: str, seen: dict[str, dict[str, Any]]
) -> None:
    assert seen[family]["difference"] < TOLERANCE
    assert seen[family]["layers"] == LAYERS - len(REMOVED)
    assert seen[family]["dtype"] == "torch.float32"


@every_family
def test_generation_with_and_without_the_cache_agrees(
    family: str, seen: dict[str, dict[str, Any]]
) -> None:
    assert seen[family]["with_cache"] == seen[family]["without_cache"]
    assert len(seen[family]["with_cache"][0]) == 10 + 12


@every_family
def test_tied_embeddings_stay_tied(
    family: str, pruned: Path, seen: dict[str, dict[str, Any]]
) -> None:
    config = tiny_config(family)
    assert seen[family]["tied"] == config.tie_word_embeddings
    assert (
        json.loads((pruned / "checkpoints" / family / "config.json").read_text())[
            "tie_word_embeddings"
        ]
        == seen[family]["tied"]
    )


@every_family
def test_the_checkpoint_holds_a_tokenizer_and_no_pickles(
    family: str, pruned: Path, seen: dict[str, dict[str, Any]]
) -> None:
    names = {path.name for path in (pruned / "checkpoints" / family).iterdir()}
    assert names == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert seen[family]["text"] == "a river"


@every_family
def test_config_on_disk_is_cut_to_match(family: str, pruned: Path) -> None:
    """Nothing but the count, the lists and what they supersede differs; the pure function says the same."""
    dense = json.loads((pruned / "dense" / family / "config.json").read_text())
    cut = json.loads((pruned / "checkpoints" / family / "config.json").read_text())
    assert cut == pruned_config(dense, REMOVED)
    assert layer_count(cut) == LAYERS - len(REMOVED)
    assert layer_types(cut) == tuple(
        kind for i, kind in enumerate(layer_types(dense)) if i not in REMOVED
    )


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
    """Older files on the hub have no ``layer_types``; after pruning the rule no longer holds, so they are written out."""
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


@every_family
def test_kv_values_are_what_the_cache_holds(family: str) -> None:
    """Counted on a real cache of 4 tokens, which is inside every window."""
    model = tiny_model(family)
    with torch.no_grad():
        cache = model(input_ids(4)[:1], use_cache=True).past_key_values
    held = sum(
        layer.keys[..., :4, :].numel() + layer.values[..., :4, :].numel() for layer in cache.layers
    )
    assert model_shape(model.config.to_dict()).kv_values_per_token * 4 == held


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


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((6,), r"layers \[6\] do not exist.*0 to 5"),
        ((-1,), "do not exist"),
        (range(6), "at least one must stay"),
        ((1, 1), "twice"),
    ],
)
def test_layers_that_cannot_be_removed(layers: tuple[int, ...], message: str) -> None:
    model = tiny_model("llama")
    with pytest.raises(InvalidInputError, match=message):
        remove_layers(model, layers)
    with pytest.raises(InvalidInputError, match=message), bypassed(model, layers):
        pass
    assert len(decoder_layers(model)) == LAYERS


def test_the_tokenizer_fits_the_models() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer("The river é").input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert max(ids) < len(tokenizer) <= VOCABULARY
