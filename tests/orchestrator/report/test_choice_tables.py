"""What ``trsp best`` says where nothing meets a budget: the ratio that would."""

import io

import pytest
from rich.console import Console

from orchestrator.grid.budgets import Budget
from orchestrator.grid.fitting.reach import Reach
from orchestrator.report.choice_tables import print_choice
from orchestrator.views.budget import Choice


def printed(reach: Reach) -> list[str]:
    out = io.StringIO()
    budget = Budget.model_validate({"max_params": 10})
    print_choice(Choice(budget, "accuracy", reaches=(reach,)), (), Console(file=out, width=80))
    return out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("reach", "line"),
    [
        (
            Reach("m", 30, removed=7),
            "to meet it, 7 of 30 layers of m must go: add 7/30 to the file's ratios",
        ),
        (
            Reach("m", 30, removed=7, asked=True),
            "to meet it, 7 of 30 layers of m must go: the grid has such cells, see 'trsp status'",
        ),
        (
            Reach("m", 30, removed=7, shapes=3),
            "to meet it, 7 of 30 layers of m must go, by the line through the latencies of 3 "
            "shapes: add 7/30 to the file's ratios",
        ),
        (
            Reach("m", 30, removed=7, shapes=1),
            "to meet it, 7 of 30 layers of m must go, by the unpruned model's latency and the "
            "share of each layer: add 7/30 to the file's ratios",
        ),
        (Reach("m", 30, removed=0, shapes=1), None),
        (Reach("m", 30, reason="why"), "no ratio of m would meet it: why"),
    ],
)
def test_the_ratio_that_would_meet_a_budget_is_named(reach: Reach, line: str | None) -> None:
    last = printed(reach)[-1]
    assert last == line if line else last.startswith("m would meet it as it is, by ")
