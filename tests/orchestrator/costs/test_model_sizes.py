"""Models whose config.json is not at hand: their sizes by their names."""

from dataclasses import replace

import pytest

from orchestrator.costs.model_sizes import guessed_shape, params_by_name, with_sizes
from orchestrator.stages.resolve import resolve_offline
from tests.orchestrator.costs.planned import CONFIG, SHAPE, of_7b
from tests.orchestrator.sample_grids import grid


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("meta-llama/Llama-2-7b-hf", 7e9),
        ("meta-llama/Llama-3.1-70B", 70e9),
        ("facebook/opt-2.7b", 2.7e9),
        ("Qwen/Qwen2.5-0.5B-Instruct", 0.5e9),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 135e6),
    ],
)
def test_a_name_tells_the_size(name: str, params: float) -> None:
    assert params_by_name(name) == pytest.approx(params)


@pytest.mark.parametrize(
    "name", ["microsoft/phi-2", "gpt2", "mistralai/Mixtral-8x7B-v0.1", "7b/model", "a-4bit-model"]
)
def test_other_names_tell_nothing(name: str) -> None:
    assert params_by_name(name) is None


@pytest.mark.parametrize(("params", "layers"), [(135e6, 30), (7e9, 32), (70e9, 80)])
def test_a_guessed_shape_has_so_many_parameters_and_layers(params: float, layers: int) -> None:
    shape = guessed_shape(params, layers)
    assert (shape.params, shape.layers) == (pytest.approx(params, rel=1e-3), layers)


def test_a_guessed_width_is_about_that_of_the_model_it_is_taken_for() -> None:
    guessed = guessed_shape(SHAPE.params, 32)
    assert guessed.hidden == pytest.approx(CONFIG["hidden_size"], rel=0.05)
    assert guessed.layer_params == pytest.approx(SHAPE.layer_params, rel=0.02)


def test_a_grid_of_known_models_stays_as_it_is() -> None:
    resolved = of_7b()
    assert with_sizes(resolved).resolved is resolved


def test_models_of_which_nothing_is_known_are_left_out_and_named() -> None:
    models = [{"source": "a/big-7b", "layers": 32}, {"source": "b/other", "layers": 8}, "c/unseen"]
    sized = with_sizes(resolve_offline(grid(models=models)))
    assert sized.guessed == {"big-7b": 7e9}
    assert sized.unknown == ("other", "unseen")
    assert {cell.model.name for cell in sized.resolved.cells} == {"big-7b"}


def test_a_guess_changes_no_key_of_a_stage() -> None:
    """What the store holds is still found."""
    resolved = of_7b(models="some-7b")
    bare = {name: replace(each, shape=None) for name, each in resolved.models.items()}
    cells = tuple(replace(cell, model=bare[cell.model.name]) for cell in resolved.cells)
    unknown = replace(resolved, models=bare, expansion=replace(resolved.expansion, cells=cells))
    assert with_sizes(unknown).resolved.key == resolved.key
