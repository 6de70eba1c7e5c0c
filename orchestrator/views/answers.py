"""The answers that a grid gives: the best cell under each of its budgets, as far as is known.

Pure.
"""

from orchestrator.views.budget import Choice, choose
from orchestrator.views.grid_view import GridView
from orchestrator.views.versions import with_version_warnings


def answers(view: GridView) -> tuple[Choice, ...]:
    """Return the choice under each budget of a grid, with all that speaks against its numbers."""
    first = view.metrics[0] if view.metrics else None
    return tuple(
        with_version_warnings(choose(view.cells, budget, budget.metric or first), view.dense)
        for budget in view.budgets
    )
