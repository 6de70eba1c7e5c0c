"""Which checkpoints of a finished grid lose their weights, as its ``storage.keep`` says.

Their records, and all scores, stay.
"""

from collections.abc import Collection, Iterable, Iterator
from itertools import chain

from orchestrator.grid.budgets import Budget
from orchestrator.keeping.needs import needs_of
from orchestrator.kept_grids.shelf import all_kept
from orchestrator.scheduler.holdings import Holdings, drop_unheld_files
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.store import Store
from orchestrator.views.answers import answers
from orchestrator.views.budget import Choice, choose, pareto_front
from orchestrator.views.grid_view import CellView, GridView


def spare_checkpoints(view: GridView, keep: str) -> frozenset[str]:
    """Return the stages whose checkpoints a finished grid does not keep. Pure.

    ``keep``: ``all``; ``front``: the best under each budget, and every cell that no other beats in
    a budget's first limit (or its parameters) and the metric; ``best``: the best under each budget,
    and its runner-up where the two cannot be told apart. Without budgets, the best of all.
    """
    if keep == "all":
        return frozenset()
    kept = {_prune(cell) for cell in _kept(view, keep)}
    return frozenset(filter(None, map(_prune, view.cells))) - kept


def _kept(view: GridView, keep: str) -> Iterator[CellView]:
    """Yield the cells that a finished grid keeps."""
    choices = answers(view) or _best_of_all(view)
    for choice in choices:
        tie = choice.comparison is not None and choice.comparison.tie
        found = (choice.best or choice.nearest, choice.runner_up if tie else None)
        yield from (cell for cell in found if cell is not None)
        if keep == "front":
            for x in {*choice.budget.limits} or {"params"}:
                yield from pareto_front(view.cells, x, choice.metric)


def keep_as_asked(store: Store, resolved: Resolved, view: GridView) -> str:
    """Drop the weights that a finished grid does not keep; return what came of it, for people.

    Empty where it keeps all. Where MLflow or the store gives no answer, all stay.
    """
    from orchestrator.tracking.marked import marked_checkpoints

    keep = resolved.grid.storage.keep
    if keep == "all":
        return ""
    try:
        marked = marked_checkpoints(resolved.grid.tracking.uri)
        dropped = drop_spare(store, resolved, view, marked)
    except OSError as error:
        return f"all weights stay for now (storage.keep: {keep}): {error}"
    return (
        f"storage.keep: {keep} has dropped the weights of {dropped} checkpoint(s); their scores "
        "stay, and a run with keep: all makes them again"
    )


def drop_spare(store: Store, resolved: Resolved, view: GridView, marked: Collection[str]) -> int:
    """Drop the weights of the checkpoints that the grid does not keep; return of how many.

    Not of those that an alias marks (``marked``), nor of those that another kept grid needs which
    keeps all, nor of what somebody works on. OSError where the store gives no answer.
    """
    spare = spare_checkpoints(view, resolved.grid.storage.keep) - {*marked}
    if not spare:
        return 0
    others = [each for each in all_kept(store) if each.key != resolved.key]
    needs = needs_of(store, others)
    if any(grid.unclear for grid in needs):
        return 0
    needed = chain.from_iterable(grid.stages for grid in needs if grid.keep == "all")
    return _drop(store, sorted(spare - {*needed}))


def _drop(store: Store, keys: Iterable[str]) -> int:
    """Drop the weights of these stages, of each under its claim; return of how many."""
    holdings = Holdings(store.claims, "retention")
    try:
        return sum(drop_unheld_files(store.stages, holdings, key) for key in keys)
    finally:
        holdings.close()


def _prune(cell: CellView) -> str:
    return cell.stage_keys.get(StageKind.PRUNE, "")


def _best_of_all(view: GridView) -> tuple[Choice, ...]:
    """Return the best of all cells, for a grid that asks for no budget."""
    return (choose(view.cells, Budget(), view.metrics[0] if view.metrics else None),)
