"""Every family through the same tests: what docs/method.md, section 5, promises.

Gates, bypass and removal, and a checkpoint that a fresh process loads without us.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from tests.tiny import LAYERS, save_tiny, tiny_config, tiny_model
from trsp.architecture.decoders import decoder_layers, layer_hidden, layer_input, with_hidden
from trsp.architecture.families import FAMILIES, layer_count, layer_types, pruned_config
from trsp.architecture.shape import model_shape
from trsp.checkpoints.checkpoint import load_model, load_tokenizer, save_checkpoint
from trsp.gates import Placement, gated
from trsp.surgery import bypassed, remove_layers

# The first, one in the middle, the last: shifts every later layer and mixes up layer types.
REMOVED = (0, 2, 5)
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
    """Keys and values go to the place that ``layer_idx`` says: it must have been renumbered.

    The text runs past every window.
    """
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
    """A pre-hook sees what the layer before it returned; a hook can replace a layer's output."""
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
    """Pruned models in checkpoints/FAMILY, and the bypassed originals' logits.

    The latter in expected/FAMILY.safetensors.
    """
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


@pytest.fixture(scope="module", autouse=True)
def fresh_process() -> Iterator[subprocess.Popen[str]]:
    """A process without our packages, which imports for seconds while the first tests run."""
    script = Path(__file__).with_name("fresh_process.py")
    process = subprocess.Popen(
        [sys.executable, "-W", "error::FutureWarning", str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=script.parent,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def seen(pruned: Path, fresh_process: subprocess.Popen[str]) -> dict[str, dict[str, Any]]:
    """What the fresh process found of every checkpoint."""
    folders = f"{pruned / 'checkpoints'}\n{pruned / 'expected'}\n"
    output, errors = fresh_process.communicate(folders, timeout=240)
    assert fresh_process.returncode == 0, errors
    answers: dict[str, dict[str, Any]] = json.loads(output.splitlines()[-1])
    return answers


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
    """Only the count, the lists and what they supersede differ; the pure function says the same."""
    dense = json.loads((pruned / "dense" / family / "config.json").read_text())
    cut = json.loads((pruned / "checkpoints" / family / "config.json").read_text())
    assert cut == pruned_config(dense, REMOVED)
    assert layer_count(cut) == LAYERS - len(REMOVED)
    assert layer_types(cut) == tuple(
        kind for i, kind in enumerate(layer_types(dense)) if i not in REMOVED
    )


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
