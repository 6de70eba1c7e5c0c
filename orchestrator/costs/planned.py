"""The cost of a grid that is planned: with what its store holds, where that can be looked at."""

from dataclasses import replace

from orchestrator.costs.at_hand import store_is_at_hand
from orchestrator.costs.cost import GridCost
from orchestrator.costs.machine import Machine
from orchestrator.costs.of_grid import cost_of
from orchestrator.stages.resolve import Resolved, resolve
from trsp.errors import TrspError


def planned_cost(
    offline: Resolved, machine: Machine, price: float | None = None, held: bool | None = None
) -> GridCost:
    """Return what is left to do of a grid that was looked up offline, and what that costs.

    ``held``: whether its store is asked what it holds, whatever that takes; None: where that needs
    no network and little reading. TrspError where it is to be asked and cannot be; where nobody has
    said so, a note says why it was not.
    """
    if held is False or (held is None and not store_is_at_hand(offline.grid)):
        return cost_of(offline, machine, price)
    try:
        return _by_its_store(offline, machine, price)
    except TrspError as error:
        if held:
            raise
        cost = cost_of(offline, machine, price)
        note = f"what the store holds is not counted: {error}"
        return replace(cost, notes=(*cost.notes, note))


def _by_its_store(offline: Resolved, machine: Machine, price: float | None) -> GridCost:
    """Return the cost by real keys; the store's library is loaded here, which takes a while."""
    from orchestrator.costs.held import cost_in
    from orchestrator.kept_grids.lookup import as_it_ran
    from orchestrator.store.patience import in_words
    from orchestrator.store.store import Store

    uri = offline.grid.storage.store
    with in_words(uri):
        return cost_in(Store(uri), as_it_ran(resolve(offline.grid)), machine, price)
