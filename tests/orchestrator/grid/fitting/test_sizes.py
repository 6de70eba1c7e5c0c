"""The lines of sizes are those of real models of fewer layers, and of their files."""

from pathlib import Path

import pytest

from orchestrator.grid.fitting.sizes import Line, compute_share, size_lines
from tests.tiny import FAMILY_SETTINGS, LAYERS, tiny_config, tiny_model
from trsp.architecture.shape import ModelShape, model_shape

BYTES_OF_FLOAT32 = 4


def shape_of(family: str) -> ModelShape:
    return model_shape({"model_type": family, **tiny_config(family).to_dict()})


@pytest.mark.parametrize("family", FAMILY_SETTINGS)
def test_params_of_a_model_of_fewer_layers_are_on_the_line(family: str) -> None:
    line = size_lines(shape_of(family), BYTES_OF_FLOAT32)["params"]
    for removed in (0, 2):
        model = tiny_model(family, LAYERS - removed)
        assert line.after(removed) == sum(each.numel() for each in model.parameters())


@pytest.mark.parametrize("family", FAMILY_SETTINGS)
def test_a_saved_file_is_within_the_line_of_bytes_by_a_header_at_most(
    family: str, tmp_path: Path
) -> None:
    line = size_lines(shape_of(family), BYTES_OF_FLOAT32)["bytes"]
    tiny_model(family, LAYERS - 2).save_pretrained(tmp_path)
    written = (tmp_path / "model.safetensors").stat().st_size
    assert written <= line.after(2) <= written + 20_000


def test_keys_and_values_fall_with_every_layer() -> None:
    line = size_lines(shape_of("llama"), 2)["kv_bytes_per_token"]
    assert line.dense == LAYERS * line.per_layer
    assert (
        line.after(2)
        == 2
        * model_shape(
            {"model_type": "llama", **tiny_config("llama", LAYERS - 2).to_dict()}
        ).kv_values_per_token
    )


def test_no_latency_is_known_of_a_model_unless_it_is_given() -> None:
    assert "latency_ms" not in size_lines(shape_of("llama"), 2)


def test_a_layer_takes_its_share_of_the_computation_off_the_latency() -> None:
    shape = shape_of("llama")
    line = size_lines(shape, 2, latency_ms=200.0)["latency_ms"]
    assert line.after(0) == 200.0
    assert line.after(1) == pytest.approx(200.0 * (1 - compute_share(shape)))
    assert line.after(shape.layers) > 0  # the output head is left


@pytest.mark.parametrize(
    ("limit", "fewest"), [(100, 0), (101, 0), (99, 1), (90, 1), (89, 2), (1, 10), (-1, 11)]
)
def test_the_fewest_layers_are_those_that_just_meet_the_limit(limit: float, fewest: int) -> None:
    line = Line(dense=100, per_layer=10)
    assert line.fewest(limit) == fewest
    assert line.after(fewest) <= limit
    assert fewest == 0 or line.after(fewest - 1) > limit
