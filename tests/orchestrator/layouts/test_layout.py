"""A layout in words."""

from orchestrator.layouts.layout import Layout
from trsp.config import EngineSettings


def test_a_layout_for_people() -> None:
    engine = EngineSettings(zero_stage=3, activation_checkpointing=True, offload_optimizer="cpu")
    assert Layout(2, 4, 1, engine=engine).text == (
        "2 ranks of 1 GPU, ZeRO 3, micro-batch 1, activation checkpointing, optimizer on cpu"
    )
    assert Layout().text == "1 rank of 1 CPU, ZeRO 2, micro-batch 1"


def test_parts_and_types_of_gpus_for_people() -> None:
    assert Layout(gpus=0.25).devices == "1/4 of a GPU"
    assert Layout(gpus=2, gpu_type="H100").devices == "2 GPUs (H100)"
    assert Layout(gpus=0.5, gpu_type="A10G").devices == "1/2 of a GPU (A10G)"


def test_a_layout_of_no_type_is_kept_as_before_there_were_types() -> None:
    """The key under which rungs are kept is made of it."""
    assert Layout(gpus=1).to_json().keys() == {"ranks", "cpus", "gpus", "memory_bytes", "engine"}
    assert isinstance(Layout.from_json(Layout(gpus=1).to_json()).gpus, int)


def test_parts_and_types_are_kept() -> None:
    layout = Layout(gpus=0.125, gpu_type="H100")
    assert Layout.from_json(layout.to_json()) == layout


def test_ray_is_asked_for_the_type_of_gpu_and_for_a_part_of_it() -> None:
    assert Layout(ranks=2, cpus=4, gpus=1, gpu_type="H100").amounts == {
        "CPU": 4.0,
        "GPU": 1.0,
        "accelerator_type:H100": 0.001,
    }
    assert Layout(gpus=0.25, memory_bytes=9).amounts == {"CPU": 1.0, "GPU": 0.25, "memory": 9.0}
