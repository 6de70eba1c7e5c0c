"""Models that are whole on no rank, on several: the same results, and little memory."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tests.tiny import contents, save_tiny, tiny_tokenizer
from tests.trsp.spawn_ranks import on_ranks
from trsp.checkpoints.checkpoint import (
    dense_record,
    load_model,
    save_checkpoint,
)
from trsp.config import DriftSettings, EngineSettings, GatesSettings, Offload
from trsp.distributed.device import peak_memory_bytes, reset_peak_memory
from trsp.distributed.zero3_parameters import is_sharded, whole_tensor
from trsp.engine.deepspeed_runtime import init_distributed
from trsp.engine.load_sharded import load_sharded
from trsp.selection import rank_layers
from trsp.transfer import transfer

BLOCKS = torch.randint(0, 256, (8, 24), generator=torch.Generator().manual_seed(0))
GATES = GatesSettings(learning_rate=0.03, blocks_per_step=4)
DRIFT = DriftSettings(learning_rate=1e-3, blocks_per_step=4, steps=3, max_grad_norm=0.5)


HOW: dict[str, tuple[bool, Offload]] = {
    "whole": (False, "none"),
    "sharded": (True, "none"),
    "offloaded": (True, "cpu"),
}


def both_stages(source: str, folder: Path, sharded: bool, offload: Offload) -> dict[str, Any]:
    """Ranking, twice stage two, and a save; each engine takes the model as the last one left it."""
    settings = EngineSettings(zero_stage=3, offload_weights=offload)
    model = load_sharded(source, engine=settings) if sharded else load_model(source)
    before = [whole_tensor(parameter).clone() for parameter in model.parameters()]
    rounds = list(rank_layers(model, BLOCKS, GATES, depth=2, engine=settings))
    assert all(
        torch.equal(whole_tensor(now), was)
        for was, now in zip(before, model.parameters(), strict=True)
    )
    losses = [transfer(model, [1, 3], BLOCKS, DRIFT, 0.5, settings).lm_loss for _ in range(2)]
    assert is_sharded(model) is sharded
    assert all(parameter.numel() == 0 for parameter in model.parameters()) is sharded
    if sharded:
        share = (
            sum(parameter.ds_tensor.numel() for parameter in model.parameters())
            * distributed.get_world_size()
        )
        assert 1 <= share / dense_record(model).params < 1.02
    record = save_checkpoint(
        model, tiny_tokenizer(), folder, card="# x\n", removed_layers=(), max_shard_size="50KB"
    )
    return {
        "rounds": [(each.layer, each.scores, each.lm_loss) for each in rounds],
        "losses": losses,
        "record": record,
    }


def both_stages_on_all(sources: list[str]) -> dict[str, dict[str, Any]]:
    return {
        source: {name: both_stages(source, Path(source) / name, *how) for name, how in HOW.items()}
        for source in sources
    }


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2])
def test_a_sharded_model_becomes_to_the_bit_what_a_whole_one_becomes(
    world_size: int, tmp_path: Path
) -> None:
    kinds = {"llama": torch.float32, "gpt2": torch.bfloat16}
    sources = [
        str(save_tiny(family, tmp_path / family, layers=4, dtype=dtype))
        for family, dtype in kinds.items()
    ]
    first, *others = on_ranks(world_size, both_stages_on_all, sources)
    assert all(other == first for other in others), "all ranks return the same records"
    for source in sources:
        assert first[source]["sharded"] == first[source]["whole"]
        assert first[source]["offloaded"] == first[source]["whole"]
        saved = {name: contents(Path(source) / name) for name in HOW}
        assert saved["sharded"] == saved["whole"]
        assert saved["offloaded"] == saved["whole"]
        trained = AutoModelForCausalLM.from_pretrained(Path(source) / "sharded")
        assert not torch.equal(trained.lm_head.weight, load_model(source).lm_head.weight)


def peaks(source: str, folder: str) -> dict[str, int]:
    """Growth of this rank's peak resident memory, in bytes, while it loads and while it saves."""
    cpu = torch.device("cpu")
    init_distributed()
    load_sharded(str(Path(source) / "small"))  # what libraries allocate once
    found = {}
    for name in ("load", "save"):
        reset_peak_memory(cpu)
        before = peak_memory_bytes(cpu)
        if name == "load":
            model = load_sharded(str(Path(source) / "large"))
        else:
            save_checkpoint(model, tiny_tokenizer(), Path(folder), card="# x\n", removed_layers=())
        found[name] = peak_memory_bytes(cpu) - before
    return found


@pytest.mark.slow
def test_no_rank_ever_holds_more_than_its_share_and_one_tensor(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "small")
    config = LlamaConfig(
        vocab_size=16384,
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=24,
        tie_word_embeddings=True,
    )
    config.save_pretrained(tmp_path / "large")
    with torch.device("meta"):
        shapes = {name: each.shape for name, each in LlamaForCausalLM(config).named_parameters()}
    weights = {name: torch.full(shape, 0.01, dtype=torch.float32) for name, shape in shapes.items()}
    save_file(weights, tmp_path / "large" / "model.safetensors", metadata={"format": "pt"})
    whole, largest = (count(each.nbytes for each in weights.values()) for count in (sum, max))
    noise = 24 * 2**20
    assert largest + noise < whole / 4
    for found in on_ranks(2, peaks, str(tmp_path), str(tmp_path / "out")):
        assert 0.4 * whole < found["load"] < 0.5 * whole + largest + noise
        assert found["save"] < largest + noise
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == weights.keys()
