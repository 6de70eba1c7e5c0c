"""What a budget takes of a model, where no cell of the grid meets it."""

from dataclasses import replace

import pytest

from orchestrator.grid.budgets import Budget
from orchestrator.grid.cells import Cell
from orchestrator.grid.fitting.reach import Reach
from orchestrator.grid.fitting.sizes import compute_share
from orchestrator.views.answers import would_meet
from orchestrator.views.grid_view import CellView, DenseView, GridView, Status
from tests.orchestrator.sample_grids import model
from tests.tiny import tiny_config
from trsp.architecture.shape import model_shape
from trsp.config import NoTransfer, ReverseSettings
from trsp.records import MeasurementRecord

SHAPE = model_shape({"model_type": "llama", **tiny_config("llama", 10).to_dict()})
MODEL = replace(model(), shape=SHAPE)


def measured(latency_ms: float, noise: str | None = "") -> MeasurementRecord:
    return MeasurementRecord(
        hardware="cpu",
        prompt_latency_ms=latency_ms,
        prompt_tokens_per_s=1,
        generate_latency_ms=1,
        generate_tokens_per_s=1,
        peak_memory_bytes=1,
        noise=noise,
    )


def view(latencies: dict[int, MeasurementRecord | None], shape_known: bool = True) -> GridView:
    """A grid with a cell for each number of layers, and its measurement; 0: the unpruned model."""
    known = MODEL if shape_known else replace(MODEL, shape=None)
    dense = DenseView(known, Status.DONE, measurement=latencies.get(0))
    cells = tuple(
        CellView(
            Cell(known, ReverseSettings(), removed / 10, None, NoTransfer(), None, 0),
            "rank-0",
            Status.DONE,
            measurement=record,
        )
        for removed, record in latencies.items()
        if removed
    )
    return GridView("grid-0", "g", cells, (), (dense,))


def asked(latencies: dict[int, MeasurementRecord | None], **limits: float) -> Reach:
    (found,) = would_meet(view(latencies), Budget.model_validate(limits), "auto")
    return found


def test_parameters_are_exact() -> None:
    limit = SHAPE.params - 4 * SHAPE.layer_params
    assert asked({2: None}, max_params=limit) == Reach("m", 10, removed=4)
    assert asked({2: None}, max_params=limit - 1).removed == 5


def test_cells_of_the_grid_that_would_do_are_known() -> None:
    assert asked({4: None}, max_params=SHAPE.params - 4 * SHAPE.layer_params).asked


def test_latencies_go_by_the_line_through_what_was_measured() -> None:
    found = asked({0: measured(100), 2: measured(90), 4: measured(80)}, max_latency_ms=70)
    assert (found.removed, found.shapes) == (6, 3)


def test_a_single_shape_is_judged_by_the_share_of_each_layer() -> None:
    found = asked({0: measured(100)}, max_latency_ms=100 * (1 - 3 * compute_share(SHAPE)) + 1e-6)
    assert (found.removed, found.shapes) == (3, 1)


def test_latencies_in_doubt_do_not_bend_the_line() -> None:
    latencies = {0: measured(100), 2: measured(90), 4: measured(99, "spread 30 %")}
    assert asked(latencies, max_latency_ms=70).removed == 6


def test_latencies_in_doubt_are_better_than_none() -> None:
    latencies = {0: measured(100, "spread 30 %"), 2: measured(90, "spread 30 %")}
    assert asked(latencies, max_latency_ms=70).removed == 6


def test_latencies_that_do_not_fall_tell_no_line() -> None:
    found = asked({0: measured(100), 2: measured(104)}, max_latency_ms=70)
    assert found.removed is not None  # by the share of each layer
    assert found.removed > 0


def test_a_latency_of_which_nothing_is_known_is_said_to_be_so() -> None:
    found = asked({0: None}, max_latency_ms=70)
    assert (found.removed, found.reason) == (None, "its latency is not measured yet")


def test_a_budget_out_of_reach_says_what_is_the_least() -> None:
    found = asked({2: None}, max_params=10)
    assert found.removed is None
    assert found.reason.startswith("with 1 of 10 layers left it still has ")


def test_a_model_of_unknown_shape_says_so() -> None:
    budget = Budget.model_validate({"max_params": 10})
    (found,) = would_meet(view({2: None}, shape_known=False), budget, "auto")
    assert found.reason == "its config.json is not at hand"


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_bytes_are_those_of_the_saved_precision(precision: str) -> None:
    limit = SHAPE.params * 2
    (found,) = would_meet(view({}), Budget.model_validate({"max_bytes": limit}), precision)
    assert (found.removed or 0) > (4 if precision == "fp32" else 0)
    assert precision == "fp32" or (found.removed or 0) < 3


def test_a_budget_without_limits_takes_nothing() -> None:
    assert would_meet(view({}), Budget.model_validate({}), "auto") == ()
