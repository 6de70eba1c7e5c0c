"""One science on any number of ranks: world sizes x ZeRO stages x offload, in one table.

All choose the same layers and leave the same weights. The effective batch of five blocks divides by
no world size but one, and ``micro_batch`` by none: shares and micro-batches are uneven, and some
ranks idle. One gang per world size runs all configurations, one after the other.
"""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import tiny_model
from tests.trsp.spawn_ranks import on_ranks
from trsp.config import DriftSettings, EngineSettings, GatesSettings, LoraSettings
from trsp.selection import rank_layers
from trsp.transfer import transfer

BLOCKS = torch.randint(0, 256, (10, 16), generator=torch.Generator().manual_seed(0))
LAYERS, DEPTH = 4, 2
GATES = GatesSettings(learning_rate=0.05, blocks_per_step=5, steps_per_round=2)
DRIFT = DriftSettings(
    learning_rate=1e-3, blocks_per_step=5, steps=4, max_grad_norm=0.5, weight_decay=0.1
)
WAYS: Mapping[str, EngineSettings] = {
    name: EngineSettings.model_validate(settings)
    for name, settings in {
        "zero 0": {"zero_stage": 0},
        "zero 1": {"zero_stage": 1},
        "zero 2": {"zero_stage": 2, "micro_batch": 2},
        "zero 3": {"zero_stage": 3, "micro_batch": 2, "activation_checkpointing": True},
        "zero 1, optimizer offloaded": {"zero_stage": 1, "offload_optimizer": "cpu"},
        "zero 2, optimizer offloaded": {
            "zero_stage": 2,
            "offload_optimizer": "cpu",
            "micro_batch": 3,
        },
        "zero 3, optimizer offloaded": {
            "zero_stage": 3,
            "offload_optimizer": "cpu",
            "micro_batch": 2,
        },
        "zero 3, weights offloaded": {"zero_stage": 3, "offload_weights": "cpu"},
        "zero 3, all offloaded": {
            "zero_stage": 3,
            "offload_optimizer": "cpu",
            "offload_weights": "cpu",
            "micro_batch": 5,
        },
    }.items()
}
WORLDS = (1, 2, 4)
FP32, BF16 = 1e-5, 2e-3  # bf16: a rounding step is 2^-9 to 2^-8 of a weight


def both_stages(
    way: str, lora: LoraSettings | None, dtype: torch.dtype
) -> tuple[list[int], dict[str, Tensor]]:
    """The layers that stage one chooses, and the weights that stage two leaves."""
    model = tiny_model("llama", layers=LAYERS, dtype=dtype)
    order = [
        record.layer for record in rank_layers(model, BLOCKS, GATES, depth=DEPTH, engine=WAYS[way])
    ]
    transfer(model, order, BLOCKS, DRIFT.model_copy(update={"lora": lora}), 0.5, WAYS[way])
    return order, {name: tensor.detach() for name, tensor in model.named_parameters()}


def compared(
    ways: list[str], lora: LoraSettings | None, wanted: Mapping[str, Tensor]
) -> list[tuple[list[int], float]]:
    """For every way, on this rank: the layers chosen, and the largest relative difference.

    The difference is that of the weight tensor where it is largest.
    """
    dtype = next(iter(wanted.values())).dtype
    return [
        (order, difference(weights, wanted))
        for order, weights in (both_stages(way, lora, dtype) for way in ways)
    ]


def difference(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> float:
    """Norm of the difference over the norm, of the tensor where it is largest."""
    assert found.keys() == wanted.keys()
    pairs = (
        (found[name].detach().double(), tensor.detach().double()) for name, tensor in wanted.items()
    )
    return max(float((ours - theirs).norm() / theirs.norm()) for ours, theirs in pairs)


def check_all(
    ways: list[str], worlds: tuple[int, ...], tolerance: float, dtype: torch.dtype, lora: Any = None
) -> None:
    """Print the table; assert that its cells are within ``tolerance`` and all layers the same."""
    layers, wanted = both_stages("zero 0", lora, dtype)
    cells: dict[tuple[str, int], float] = {}
    for world in worlds:
        seen = on_ranks(world, compared, ways, lora, wanted)
        for way, *ranks in zip(ways, *seen, strict=True):
            assert all(order == layers for order, _ in ranks), (way, world, ranks)
            cells[way, world] = max(found for _, found in ranks)
    header = "".join(f"{world} ranks".rjust(12) for world in worlds)
    rows = [
        way.ljust(30) + "".join(f"{cells[way, world]:12.1e}" for world in worlds) for way in ways
    ]
    print(
        f"\nlayers {layers}; weights differ from one rank's under zero 0 by at most",
        " " * 30 + header,
        *rows,
        sep="\n",
    )
    assert max(cells.values()) < tolerance, "\n".join(rows)
    assert (
        difference(wanted, dict(tiny_model("llama", LAYERS, dtype=dtype).named_parameters()))
        > 4 * tolerance
    ), "trained"


@pytest.mark.slow
def test_layers_and_weights_are_those_of_one_rank() -> None:
    check_all(list(WAYS), WORLDS, FP32, torch.float32)


@pytest.mark.slow
def test_bf16_weights_are_those_of_one_rank_to_rounding() -> None:
    check_all(
        ["zero 0", "zero 1", "zero 2, optimizer offloaded", "zero 3"], (1, 2), BF16, torch.bfloat16
    )


@pytest.mark.slow
def test_adapters_are_merged_into_the_same_weights() -> None:
    """Under weights that were loaded whole; test_lora has those that were born as partitions."""
    ways = ["zero 0", "zero 2, optimizer offloaded", "zero 3, all offloaded"]
    check_all(ways, (1, 2), FP32, torch.float32, LoraSettings(rank=4, alpha=64.0))
