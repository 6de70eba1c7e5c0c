"""The answers that a grid gives: the best cell under each of its budgets, as far as is known.

Where nothing meets a budget, what would. Pure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from orchestrator.grid.budgets import Budget
from orchestrator.grid.fitting.reach import Known, Reach, reach
from orchestrator.views.budget import Choice, choose
from orchestrator.views.grid_view import CellView, DenseView, GridView
from orchestrator.views.versions import with_version_warnings
from trsp.config import Precision


def answers(view: GridView) -> tuple[Choice, ...]:
    """Return the choice under each budget of a grid, with all that speaks against its numbers."""
    return tuple(answer(view, budget) for budget in view.budgets)


def answer(view: GridView, budget: Budget) -> Choice:
    """Return the choice under a budget, also one that is not the grid's, as ``answers`` does."""
    metric = budget.metric or (view.metrics[0] if view.metrics else None)
    return with_version_warnings(choose(view.cells, budget, metric), view.dense)


def with_reaches(choice: Choice, view: GridView, precision: Precision) -> Choice:
    """Return the choice, with what would meet its budget (``would_meet``) where nothing does."""
    if choice.best is not None:
        return choice
    return replace(choice, reaches=would_meet(view, choice.budget, precision))


def would_meet(view: GridView, budget: Budget, precision: Precision) -> tuple[Reach, ...]:
    """Return what the budget takes of each model of a grid; nothing for one without limits.

    ``precision``: the grid's, in which checkpoints are saved.
    """
    if not budget.limits:
        return ()
    return tuple(reach(_known(view, dense), budget.limits, precision) for dense in view.dense)


def _known(view: GridView, dense: DenseView) -> Known:
    model = dense.model
    cells = [cell for cell in view.cells if cell.cell.model.name == model.name]
    return Known(
        model.name,
        model.layers,
        model.shape,
        latencies=tuple(_latencies(dense, cells)),
        asked=frozenset(cell.cell.removed for cell in cells),
    )


def _latencies(dense: DenseView, cells: Sequence[CellView]) -> Iterator[tuple[int, float]]:
    """Yield the layers that are gone and the prompt latency, of every measured shape; sound ones.

    Those in doubt count only where there are none but these.
    """
    found = [(0, dense.measurement), *((cell.cell.removed, cell.measurement) for cell in cells)]
    known = [(removed, record) for removed, record in found if record is not None]
    sound = [(removed, record) for removed, record in known if not record.doubt]
    for removed, record in sound or known:
        yield removed, record.prompt_latency_ms
