"""``ratios: auto``: the cells of a grid by its budgets, from the file and the shapes alone."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.grid.expand import Expansion, expand
from tests.orchestrator.sample_grids import grid, model
from tests.tiny import tiny_config
from trsp.architecture.shape import model_shape

SHAPE = model_shape({"model_type": "llama", **tiny_config("llama", 10).to_dict()})


def params(removed: int) -> int:
    return SHAPE.params - removed * SHAPE.layer_params


def expanded(**changes: Any) -> Expansion:
    found = grid(**{"ratios": "auto", "transfer": "none", "selectors": "reverse"} | changes)
    models = {entry.name: replace(model(entry.name), shape=SHAPE) for entry in found.models}
    return expand(found, models)


def test_a_cell_for_each_budget() -> None:
    found = expanded(budgets=[{"max_params": params(3)}, {"max_params": params(3) - 1}])
    assert [cell.removed for cell in found.cells] == [3, 4]
    assert not found.refusals


def test_other_axes_are_multiplied_as_ever() -> None:
    found = expanded(
        selectors=["gates", "reverse"],
        gate_l1=[1e-3, 5e-3],
        budgets=[{"max_params": params(2)}, {"max_params": params(5)}],
    )
    assert len(found.cells) == 2 * 3


def test_each_model_has_numbers_of_its_own() -> None:
    found = grid(models=["a/x", "b/y"], ratios="auto", budgets=[{"max_params": params(3)}])
    small = replace(SHAPE, layers=8)
    models = {"x": replace(model("x"), shape=SHAPE), "y": replace(model("y", 8), shape=small)}
    cells = expand(found, models).cells
    assert [(cell.model.name, cell.removed) for cell in cells] == [("x", 3), ("y", 1)]


def test_a_cell_by_a_budget_is_that_of_the_ratio_written_out() -> None:
    by_budget = expanded(budgets=[{"max_params": params(3)}]).cells
    written = expanded(ratios=0.3, budgets=[{"max_params": params(3)}]).cells
    assert [cell.key for cell in by_budget] == [cell.key for cell in written]


def test_a_cell_by_a_budget_is_called_by_its_layers() -> None:
    (cell,) = expanded(budgets=[{"max_params": params(3)}]).cells
    assert cell.name == "3/10 reverse"


def test_ratios_beside_auto_share_its_cells() -> None:
    found = expanded(ratios=["auto", 0.3, 0.5], budgets=[{"max_params": params(3)}])
    assert [cell.removed for cell in found.cells] == [3, 5]
    assert not found.notes


def test_exclude_may_name_a_number_beside_auto() -> None:
    found = expanded(
        ratios=["auto", 0.5], exclude=[{"ratios": 0.5}], budgets=[{"max_params": params(3)}]
    )
    assert [cell.removed for cell in found.cells] == [3]


def test_bytes_are_those_of_the_precision_that_is_saved() -> None:
    limit = {"max_bytes": 2 * params(3) + 40_000}  # and a header
    assert [c.removed for c in expanded(precision="bf16", budgets=[limit]).cells] == [3]
    assert expanded(precision="fp32", budgets=[limit]).cells[0].removed > 3


def test_a_latency_is_judged_by_that_of_the_unpruned_model() -> None:
    found = expanded(models=[{"source": "m", "latency_ms": 100}], budgets=[{"max_latency_ms": 75}])
    (cell,) = found.cells
    assert cell.removed == 3  # 9 % of the computation each: the output head does the rest


def test_a_number_that_the_selector_cannot_give_is_refused_with_its_budget() -> None:
    found = expanded(
        selectors={"name": "reverse", "protect_last": 8}, budgets=[{"max_params": params(3)}]
    )
    (refused,) = found.refusals
    assert "only 2 may go" in refused.reason
    assert f"(ratios: auto, for budget best-params-{params(3)})" in refused.reason


def test_a_grid_whose_budgets_ask_for_nothing_is_refused() -> None:
    (refused,) = expanded(budgets=[{"max_params": params(0)}]).refusals
    assert "finds nothing to remove" in refused.reason


def test_a_model_without_a_shape_is_counted_and_not_guessed() -> None:
    found = grid(ratios="auto", budgets=[{"max_params": 10}])
    expansion = expand(found, {"m": model()})
    assert expansion.unresolved == {"m": 1}
    assert not expansion.refusals


@pytest.mark.parametrize("axes", [{"ratios": "auto"}, {"include": [{"ratios": "auto"}]}])
def test_without_a_budget_auto_is_refused_with_the_cure(axes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"the file has none; add budgets: \[\{max_params"):
        grid(**axes)


@pytest.mark.parametrize("wrong", ["autoo", True, {"a": 1}])
def test_what_is_no_ratio_is_answered_with_what_is(wrong: Any) -> None:
    with pytest.raises(ValidationError, match=r"write 0\.25, 1/4, 25%"):
        grid(ratios=[wrong])
