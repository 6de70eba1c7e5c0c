"""Where numbers that are compared were computed with different libraries or devices."""

from dataclasses import replace

import pytest

from orchestrator.grid.budgets import Budget
from orchestrator.stages.stage_specs import StageKind
from orchestrator.views.budget import choose
from orchestrator.views.grid_view import CellView, DenseView, Status
from orchestrator.views.versions import shown_versions, with_version_warnings
from tests.orchestrator.sample_grids import scored

OLD = {"torch": "2.9.0", "transformers": "5.1", "device": "cpu"}
NEW = {"torch": "2.10.0", "transformers": "5.1", "device": "cpu"}


def cell(seed: int, versions: dict[str, str], kind: StageKind = StageKind.EVALUATE) -> CellView:
    return replace(scored(seed, 90 + seed, 20.0 + seed), versions={kind: versions})


def notes(*cells: CellView, dense: dict[str, str] | None = None, metric: str = "") -> list[str]:
    parts = [
        DenseView(cells[0].cell.model, Status.DONE, versions={StageKind.EVALUATE: dense or {}})
    ]
    choice = choose(cells, Budget(), metric or "perplexity/wiki")
    return list(with_version_warnings(choice, parts).warnings)


def test_numbers_of_equal_versions_need_no_note() -> None:
    assert notes(cell(1, OLD), cell(2, OLD), dense=OLD) == []


def test_a_runner_up_of_another_version_is_said() -> None:
    assert notes(cell(1, NEW), cell(2, OLD), dense=NEW) == [
        "perplexity/wiki of the best and of the runner-up were computed differently: "
        "torch 2.10.0 and 2.9.0"
    ]


def test_an_unpruned_model_of_another_device_is_said() -> None:
    (note,) = notes(cell(1, OLD), cell(2, OLD), dense={**OLD, "device": "NVIDIA H100"})
    assert "unpruned model" in note
    assert "device cpu and NVIDIA H100" in note


@pytest.mark.parametrize("metric", ["params", "bytes"])
def test_sizes_are_the_same_whatever_computed_them(metric: str) -> None:
    assert notes(cell(1, NEW), cell(2, OLD), metric=metric) == []


def test_what_a_result_does_not_say_is_no_difference() -> None:
    assert notes(cell(1, NEW), cell(2, {}), dense={}) == []


def test_a_few_versions_are_shown() -> None:
    shown = shown_versions({StageKind.EVALUATE: {**NEW, "python": "3.11.7"}})
    assert shown == {"torch": "2.10.0", "transformers": "5.1", "device": "cpu"}
