"""Models that cannot be used are refused by ``trsp plan``, and by ``trsp run`` before it starts."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.grid.axes import ModelEntry
from orchestrator.stages.resolve import resolve_offline
from tests.orchestrator.refusals import call, refused
from tests.orchestrator.sample_grids import grid
from tests.tiny import save_tiny, tiny_model
from tests.tiny_grid import tiny_grid

Changes = dict[str, Any]


@pytest.fixture(scope="module")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gpt2 with 256 learned positions. Read only."""
    return save_tiny("gpt2", tmp_path_factory.mktemp("models") / "tiny-gpt2", layers=2)


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | changes), encoding="utf-8")


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def truncated(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


def no_shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    tiny_model("llama").save_pretrained(folder, max_shard_size="60KB")
    sorted(folder.glob("*.safetensors"))[1].unlink()


def more_layers(folder: Path) -> None:
    edit(folder / "config.json", num_hidden_layers=4)


def fewer_layers(folder: Path) -> None:
    edit(folder / "config.json", num_hidden_layers=7)


def other_width(folder: Path) -> None:
    edit(folder / "config.json", intermediate_size=64)


def small_vocabulary(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    model = tiny_model("llama")
    model.resize_token_embeddings(200)
    model.save_pretrained(folder)


def no_vocabulary_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["vocab_size"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (only_pickles, "has no *.safetensors; pickled weights are not read"),
        (no_tokenizer, "has no tokenizer: there is no tokenizer.json"),
        (truncated, "its header speaks of"),
        (no_shard, "which is missing; download or export them again"),
        (more_layers, "they have a layer 5 (counted from 0), but num_hidden_layers is 4"),
        (fewer_layers, "num_hidden_layers is 7, but they lack layer 6"),
        (other_width, "but the config's sizes make it [64, 32]"),
        (small_vocabulary, "has ids up to 255, but its embedding has 200 rows"),
        (no_vocabulary_size, "its config.json has no 'vocab_size'"),
    ],
)
def test_a_model_that_cannot_be_used(
    damage: Callable[[Path], None],
    said: str,
    folder: Path,
    text: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(folder)
    refused(tiny_grid(tmp_path / "job", folder, text), said, capsys)


def long_blocks(source: Changes) -> Changes:
    return {"calibration": {"text": source, "blocks": 2, "block_tokens": 257}}


def long_windows(source: Changes) -> Changes:
    return {"evaluation": {"perplexity": [{"text": source, "window_tokens": 512}]}}


def long_prompt(_: Changes) -> Changes:
    return {"measurement": {"protocol": "small", "prompt_tokens": 300}}


def long_generation(_: Changes) -> Changes:
    return {"measurement": {"generate_prompt_tokens": 128, "generate_new_tokens": 129}}


TOO_LONG = [
    (long_blocks, "a calibration block (calibration.block_tokens) of 257 tokens is longer than"),
    (long_windows, "an evaluation window of 'tiny' of 512 tokens is longer than"),
    (long_prompt, "the measured prompt (measurement.prompt_tokens) of 300 tokens is longer than"),
    (long_generation, "generate_new_tokens) of 257 tokens is longer than"),
]


@pytest.mark.parametrize(("change", "said"), TOO_LONG)
def test_longer_than_learned_positions(
    change: Callable[[Changes], Changes],
    said: str,
    tiny_gpt2: Path,
    text: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = change({"name": "tiny", "path": str(text)})
    file = tiny_grid(tmp_path / "job", tiny_gpt2, text, ratios=0.5, **changes)
    refused(file, f"{said} the 256 positions that this model has learned", capsys)


@pytest.mark.parametrize(("change", "said"), TOO_LONG)
def test_longer_than_a_model_with_computed_positions_was_made_for(
    change: Callable[[Changes], Changes],
    said: str,
    folder: Path,
    text: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = change({"name": "tiny", "path": str(text)})
    assert call("plan", tiny_grid(tmp_path / "job", folder, text, **changes)) == 0
    printed = capsys.readouterr().out
    assert f"warning: model {str(folder)!r}: " in printed
    assert f"{said} the 256 that this model was made for" in printed


def test_as_long_as_the_learned_positions(tiny_gpt2: Path, text: Path, tmp_path: Path) -> None:
    """BOS has its place within a block or window."""
    source = {"name": "tiny", "path": str(text)}
    calibration = {"text": source, "blocks": 2, "block_tokens": 256}
    evaluation = {"perplexity": [{"text": source, "window_tokens": 256}]}
    changes = {"calibration": calibration, "evaluation": evaluation, "ratios": 0.5}
    assert call("plan", tiny_grid(tmp_path / "job", tiny_gpt2, text, **changes)) == 0


def test_a_selector_that_reads_no_text_needs_no_short_blocks(
    tiny_gpt2: Path, text: Path, tmp_path: Path
) -> None:
    changes = long_blocks({"name": "tiny", "path": str(text)})
    changes |= {"selectors": "reverse", "transfer": "none", "ratios": 0.5}
    assert call("plan", tiny_grid(tmp_path / "job", tiny_gpt2, text, **changes)) == 0


# --- the hub's cache ----------------------------------------------------------


@pytest.fixture
def cached(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model ``org/seen`` in the hub's cache."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "hub" / "models--org--seen"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit, encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return Path(shutil.copytree(folder, cache / "snapshots" / commit))


def reasons(text: Path) -> list[str]:
    """What a plan refuses of a grid on ``org/seen``."""
    source = {"name": "wiki", "path": str(text)}
    calibration = {"text": source, "blocks": 2, "block_tokens": 16}
    evaluation = {"perplexity": [{"text": source, "window_tokens": 16}]}
    asked = grid(models="org/seen", calibration=calibration, evaluation=evaluation)
    assert asked.models == (ModelEntry(source="org/seen", name="seen"),)
    return [refusal.reason for refusal in resolve_offline(asked).expansion.refusals]


def test_what_the_cache_holds_is_checked(cached: Path, text: Path) -> None:
    assert reasons(text) == []
    truncated(cached)
    (said,) = reasons(text)
    assert said.startswith("the weights of 'org/seen' cannot be read: model.safetensors has")


def test_what_the_cache_does_not_hold_is_no_defect(cached: Path, text: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (cached / name).unlink()
    assert reasons(text) == []
