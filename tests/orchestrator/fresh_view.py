"""A grid as it stands in its store, made from scratch."""

from orchestrator.stages.resolve import Resolved
from orchestrator.store.results import StoreResults
from orchestrator.views.build import Activity, ViewBuilder
from orchestrator.views.grid_view import GridView
from orchestrator.views.parts import GridParts
from tests.orchestrator.fake_launcher import store_of


def view_of(
    grid: Resolved, results: StoreResults | None = None, activity: Activity | None = None
) -> GridView:
    """The view of the grid, with what a driver adds to that; ``results`` default to its store's."""
    parts = GridParts(grid, results or StoreResults(store_of(grid)))
    parts.update()
    return ViewBuilder(parts).view(activity or Activity())
