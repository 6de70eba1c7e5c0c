"""Views of a small grid with what its page needs: budgets and metrics."""

from dataclasses import replace
from pathlib import Path

from orchestrator.grid.budgets import Budget
from orchestrator.views.grid_view import GridView
from tests.orchestrator import sample_views as sample

METRICS = ("perplexity/wiki", "perplexity/c4", "accuracy")
BUDGET = Budget(max_params=1_300_000)


def asked(view: GridView, *budgets: Budget) -> GridView:
    """Return the view of a grid that has these budgets, one by default."""
    return replace(view, metrics=METRICS, budgets=budgets or (BUDGET,))


def finished(folder: Path) -> GridView:
    return asked(sample.finished(folder))


def half_failed(folder: Path) -> GridView:
    """Return the last view of a grid of which one cell failed."""
    return asked(sample.story(folder)[-1])


def just_begun(folder: Path) -> GridView:
    return asked(sample.story(folder)[0])
