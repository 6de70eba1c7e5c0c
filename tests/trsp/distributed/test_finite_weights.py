"""Weights that are no numbers are found, in every precision and in every part."""

import math

import pytest
import torch
from torch import nn

from tests.tiny import tiny_model
from tests.trsp.spawn_ranks import on_ranks
from trsp.config import EngineSettings
from trsp.distributed.finite_weights import nonfinite_parameters
from trsp.engine.deepspeed_runtime import init_distributed, partitioner


def test_a_model_of_numbers_has_none() -> None:
    assert nonfinite_parameters(tiny_model("llama", layers=1)) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_bad_element_is_found(dtype: torch.dtype, value: float) -> None:
    model = tiny_model("llama", layers=2, dtype=dtype)
    model.model.layers[1].mlp.up_proj.weight.data[3, 5] = value
    assert nonfinite_parameters(model) == ["model.layers.1.mlp.up_proj.weight"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_largest_numbers_are_numbers(dtype: torch.dtype) -> None:
    model = nn.Linear(2, 1, bias=False, dtype=dtype)
    model.weight.data = torch.tensor(
        [[torch.finfo(dtype).max, torch.finfo(dtype).max]], dtype=dtype
    )
    assert nonfinite_parameters(model) == []


def test_opposite_infinities_do_not_cancel() -> None:
    model = nn.Linear(2, 1, bias=False)
    model.weight.data = torch.tensor([[-math.inf, math.inf]])
    assert nonfinite_parameters(model) == ["weight"]


def test_an_empty_parameter_is_no_error() -> None:
    model = nn.ParameterDict({"empty": nn.Parameter(torch.empty(0, 3))})
    assert nonfinite_parameters(model) == []


def bad_part_of_the_last_rank() -> list[str]:
    """A partitioned model in which the last rank alone holds a NaN, at the end of its share."""
    init_distributed()
    model = nn.Sequential(nn.Linear(5, 5, bias=False), nn.Linear(3, 5, bias=False))
    model[1].weight.data[-1, -1] = math.nan
    partition = partitioner(EngineSettings(zero_stage=3), torch.float32)
    for layer in model:
        partition(layer.weight)
    padding = model[0].weight.ds_tensor  # 25 elements on 2 ranks: the last one is of no use
    if torch.distributed.get_rank() == 1:
        padding.data[-1] = math.nan
    return nonfinite_parameters(model)


@pytest.mark.slow
def test_all_ranks_hear_of_a_bad_part_and_padding_is_none() -> None:
    assert on_ranks(2, bad_part_of_the_last_rank) == [["1.weight"]] * 2
