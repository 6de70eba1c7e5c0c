"""Our settings in DeepSpeed's words."""

from typing import Any

import pytest

from trsp.config import EngineSettings
from trsp.engine.deepspeed_config import deepspeed_config
from trsp.engine.optimizer_config import OptimizerConfig


def zero_section(*, ranks: int = 2, gpu: bool = True, trains: bool = True, **settings: Any) -> Any:
    config = deepspeed_config(
        EngineSettings(**settings),
        OptimizerConfig(1e-5, steps=1) if trains else None,
        bf16=True,
        parameters=100,
        micro_batch=1,
        micro_steps=1,
        pin_memory=gpu,
        ranks=ranks,
    )
    return config["zero_optimization"]


@pytest.mark.parametrize("stage", [1, 2])
def test_gradients_travel_during_the_backward_pass_between_gpus(stage: int) -> None:
    section = zero_section(zero_stage=stage)
    assert section["overlap_comm"] is True
    assert section["contiguous_gradients"] is True  # two buckets by turns: none is written early


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"ranks": 1},
        {"gpu": False},
        {"trains": False},
        {"zero_stage": 0},
        {"zero_stage": 3},  # DeepSpeed's own default there
        {"offload_optimizer": "cpu"},
    ],
    ids=str,
)
def test_elsewhere_overlap_is_left_to_deepspeed(elsewhere: dict[str, Any]) -> None:
    assert "overlap_comm" not in zero_section(**{"zero_stage": 2, **elsewhere})
