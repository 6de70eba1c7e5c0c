"""A layout in words."""

from orchestrator.layouts.layout import Layout
from trsp.config import EngineSettings


def test_a_layout_for_people() -> None:
    engine = EngineSettings(zero_stage=3, activation_checkpointing=True, offload_optimizer="cpu")
    assert Layout(2, 4, 1, engine=engine).text == (
        "2 ranks of 1 GPU, ZeRO 3, micro-batch 1, activation checkpointing, optimizer on cpu"
    )
    assert Layout().text == "1 rank of 1 CPU, ZeRO 2, micro-batch 1"
