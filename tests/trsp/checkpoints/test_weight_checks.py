"""Weights and tokenizers of real checkpoints, whole and damaged, told by their files alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import VOCABULARY, save_tiny, tiny_model
from trsp.architecture.families import FAMILIES
from trsp.checkpoints.tokenizer_files import check_token_ids, check_tokenizer_is_there
from trsp.checkpoints.weight_checks import check_weights
from trsp.errors import InvalidInputError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
EMBEDDING = "model.embed_tokens.weight"
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def copy(tiny_llama: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_llama, tmp_path / "copy")


def check(folder: Path, *, partial: bool = False, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes
    check_weights("a model", folder, config, partial=partial)


def refusal(folder: Path, **changes: object) -> str:
    with pytest.raises(InvalidInputError) as caught:
        check(folder, **changes)
    return str(caught.value)


def rewrite(folder: Path, change: Callable[[Tensors], object]) -> None:
    tensors = load_file(folder / SINGLE)
    change(tensors)
    save_file(tensors, folder / SINGLE, {"format": "pt"})


def shard(folder: Path) -> list[Path]:
    """Write the model anew in several files."""
    (folder / SINGLE).unlink()
    tiny_model("llama").save_pretrained(folder, max_shard_size="60KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 2
    return shards


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_checkpoints_of_every_family_pass(family: str, tmp_path: Path) -> None:
    check(save_tiny(family, tmp_path))


def test_names_without_the_outermost_module_pass(tmp_path: Path) -> None:
    """As GPT-2 lies on the hub, with the buffers of its attention."""
    folder = save_tiny("gpt2", tmp_path)

    def shorten(tensors: Tensors) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        tensors["h.0.attn.bias"] = torch.ones(1, 1, 8, 8)

    rewrite(folder, shorten)
    check(folder)


def test_a_head_by_its_former_or_its_present_name_passes(tmp_path: Path) -> None:
    folder = save_tiny("gpt_neox", tmp_path)
    former, present = "embed_out.weight", "lm_head.weight"
    rewrite(folder, lambda tensors: tensors.__setitem__(present, tensors.pop(former)))
    check(folder)


@pytest.mark.parametrize("names", [{"lm_head.weight"}, {"lm_head.weight", EMBEDDING}])
def test_tied_weights_by_any_of_their_names_pass(names: set[str], copy: Path) -> None:
    def rename(tensors: Tensors) -> None:
        embedding = tensors.pop(EMBEDDING)
        tensors |= {name: embedding.clone() for name in names}

    rewrite(copy, rename)
    check(copy)


def test_a_file_that_is_cut_short(copy: Path) -> None:
    weights = copy / SINGLE
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    said = refusal(copy)
    assert f"{SINGLE} has {len(whole) - 10} bytes, its header speaks of {len(whole)}" in said
    assert "download or export them again" in said
    for size in (0, 5, 1000):
        weights.write_bytes(whole[:size])
        assert f"{SINGLE} has {size} bytes and no whole header" in refusal(copy)


def test_a_file_that_is_no_safetensors(copy: Path) -> None:
    (copy / SINGLE).write_bytes((20).to_bytes(8, "little") + b"x" * 100)
    assert f"{SINGLE} has a damaged header" in refusal(copy)


def test_pickles_alone(copy: Path) -> None:
    (copy / SINGLE).rename(copy / "pytorch_model.bin")
    assert "pickled weights are not read (pytorch_model.bin is there)" in refusal(copy)


def test_safetensors_of_another_name(copy: Path) -> None:
    (copy / SINGLE).rename(copy / "weights.safetensors")
    assert f"weights.safetensors is there, {SINGLE} or {INDEX} is wanted" in refusal(copy)


def test_a_shard_that_is_missing(copy: Path) -> None:
    shards = shard(copy)
    check(copy)
    shards[1].unlink()
    assert f"{INDEX} names {shards[1].name}, which is missing" in refusal(copy)


def test_a_shard_that_lacks_what_the_index_says(copy: Path) -> None:
    shards = shard(copy)
    shutil.copy(shards[0], shards[1])
    assert f"{INDEX} says that {shards[1].name} holds" in refusal(copy)


def test_an_index_that_is_none(copy: Path) -> None:
    shard(copy)
    (copy / INDEX).write_text("{}", encoding="utf-8")
    assert f"{INDEX} is no index of weights" in refusal(copy)


def test_more_layers_than_the_config_says(copy: Path) -> None:
    said = refusal(copy, num_hidden_layers=4)
    assert "they have a layer 5 (counted from 0), but num_hidden_layers is 4" in said
    assert "take both from one checkpoint" in said


def test_fewer_layers_than_the_config_says(copy: Path) -> None:
    said = refusal(copy, num_hidden_layers=8)
    assert "num_hidden_layers is 8, but they lack layer 6 (counted from 0)" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocab_size": 300}, "embed_tokens or lm_head is [264, 32]"),
        ({"hidden_size": 64, "head_dim": 8}, "embed_tokens or lm_head is [264, 32]"),
        ({"intermediate_size": 40}, "mlp.gate_proj.weight of layer 0 is [48, 32]"),
        ({"num_key_value_heads": 4}, "self_attn.k_proj.weight of layer 0 is [16, 32]"),
        ({"tie_word_embeddings": False}, "they lack lm_head ([264, 32]"),
    ],
)
def test_sizes_that_contradict_the_config(
    copy: Path, changes: dict[str, object], said: str
) -> None:
    assert said in refusal(copy, **changes)


def test_a_tensor_that_is_missing(copy: Path) -> None:
    rewrite(copy, lambda tensors: tensors.pop("model.layers.3.mlp.up_proj.weight"))
    assert "layer 3 lacks up_proj.weight" in refusal(copy)


def test_a_cache_may_hold_a_part(copy: Path) -> None:
    shards = shard(copy)
    shards[1].unlink()
    check(copy, partial=True)
    shards[0].write_bytes(shards[0].read_bytes()[:-1])
    with pytest.raises(InvalidInputError, match=f"{shards[0].name} has"):
        check(copy, partial=True)
    for file in copy.glob("*.safetensors*"):
        file.unlink()
    check(copy, partial=True)


def tokenizer(folder: Path, **changes: object) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | changes), encoding="utf-8")


def test_a_tokenizer_as_large_as_the_embedding(copy: Path) -> None:
    check_tokenizer_is_there("a model", copy)
    assert check_token_ids("a model", copy, VOCABULARY) == ""
    assert check_token_ids("a model", copy, 259) == ""


def test_ordinary_ids_beyond_the_embedding(copy: Path) -> None:
    with pytest.raises(InvalidInputError, match="ids up to 255, but its embedding has 200 rows"):
        check_token_ids("a model", copy, 200)


def test_a_bos_beyond_the_embedding(copy: Path) -> None:
    with pytest.raises(InvalidInputError, match="opens texts with '<bos>', id 257"):
        check_token_ids("a model", copy, 257)


def test_added_tokens_beyond_the_embedding_are_remarked_on(copy: Path) -> None:
    said = check_token_ids("a model", copy, 258)
    assert "1 added tokens beyond the embedding's 258 rows (<eos>)" in said
    (copy / "added_tokens.json").write_text('{"<image>": 999}', encoding="utf-8")
    assert "(<image>)" in check_token_ids("a model", copy, VOCABULARY)


def test_a_vocabulary_that_is_a_list(copy: Path) -> None:
    tokenizer(copy, model={"type": "Unigram", "vocab": [["a", -1.0], ["b", -2.0], ["<eos>", 0]]})
    with pytest.raises(InvalidInputError, match="ids up to 1, but its embedding has 1 rows"):
        check_token_ids("a model", copy, 1)


def test_a_tokenizer_that_is_damaged(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"tokenizer of 'a model' cannot be read: token"):
        check_token_ids("a model", copy, VOCABULARY)


def test_no_tokenizer(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    with pytest.raises(InvalidInputError, match="model 'a model' has no tokenizer"):
        check_tokenizer_is_there("a model", copy)
    (copy / "tokenizer.model").write_bytes(b"")
    check_tokenizer_is_there("a model", copy)
    assert check_token_ids("a model", copy, VOCABULARY) == ""
