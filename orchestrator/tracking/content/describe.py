"""From views to runs: ``described_runs(view)`` gives every MLflow run that a grid should have.

Pure; does not know MLflow.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

from orchestrator.redact import redact
from orchestrator.tracking.content.describe_cell import cell_state
from orchestrator.tracking.content.describe_grid import grid_state
from orchestrator.tracking.content.describe_ranking import ranking_state
from orchestrator.tracking.content.metrics import shown_metrics
from orchestrator.tracking.content.states import RunState
from orchestrator.tracking.content.values import digest, reason_of
from orchestrator.views.grid_view import DenseView, GridView, Status, killed

RunId = tuple[str, str]  # a run's kind and key
_NOT_BEGUN = (Status.WAITING, Status.KILLED)  # as far as these say


@dataclass(frozen=True)
class DescribedRun:
    """A run that should exist once its work was seen to have begun.

    ``state`` makes what the run says. ``ranks``: it waits for a ranking that runs.
    """

    kind: str
    key: str
    status: Status
    state: Callable[[], RunState]
    ranks: bool = False

    @property
    def has_begun(self) -> bool:
        """Whether its own work has begun, as far as its status says."""
        return self.status not in _NOT_BEGUN and not self.ranks

    @property
    def id(self) -> RunId:
        """What tells the run from the grid's others."""
        return self.kind, self.key


def described_runs(
    view: GridView, before: GridView | None = None, experiment_id: str = ""
) -> Iterator[DescribedRun]:
    """Yield every run of a grid: the grid's own first, for it is the parent of all others.

    ``before``: an earlier view of the same grid; runs that say the same as they did then are left
    out, which costs next to nothing where their parts are the same objects. ``experiment_id``: for
    links between MLflow's pages.
    """
    if view is before:
        return
    state = partial(grid_state, view, experiment_id)
    yield DescribedRun("grid", view.key, view.status, state)
    yield from _ranking_runs(view, before)
    known = _references(before) if before else {}
    for part in view.dense:
        if not _same(part, known.get(part.model.fingerprint)):
            state = partial(dense_state, part)
            yield DescribedRun("dense", part.model.fingerprint, part.status, state)
    yield from _cell_runs(view, before)


def run_ids(view: GridView) -> set[RunId]:
    """Return the runs that a grid may have, each by its kind and key."""
    return {run.id for run in described_runs(view)}


def _ranking_runs(view: GridView, before: GridView | None) -> Iterator[DescribedRun]:
    known = {ranking.key: ranking for ranking in before.rankings} if before else {}
    changed = [each for each in view.rankings if not _same(each, known.get(each.key))]
    cells = {cell.cell.key: cell.cell for cell in view.cells} if changed else {}
    for ranking in changed:
        sample = next((cells[key] for key in ranking.cells if key in cells), None)
        state = partial(ranking_state, ranking, sample)
        yield DescribedRun("rank", ranking.key, ranking.status, state)


def _cell_runs(view: GridView, before: GridView | None) -> Iterator[DescribedRun]:
    """Yield the runs of cells that changed, or whose unpruned model did."""
    dense, texts = _references(view), _text_digests(view.settings)
    old_dense = _references(before) if before else {}
    old_cells = before.cells if before else ()
    for cell, old in zip_longest(view.cells, old_cells[: len(view.cells)]):
        model = cell.cell.model.fingerprint
        base = dense.get(model)
        if not (_same(cell, old) and _same(base, old_dense.get(model))):
            state = partial(cell_state, cell, base, texts)
            ranks = cell.status is Status.RUNNING and cell.layers is None
            yield DescribedRun("cell", cell.cell.key, cell.status, state, ranks)


def _same(part: object, before: object) -> bool:
    """Whether a part of a view is as it was: mostly it is the very object."""
    return part is before or part == before


def _references(view: GridView) -> dict[str, DenseView]:
    """The unpruned models, by fingerprint."""
    return {part.model.fingerprint: part for part in view.dense}


def closed(view: GridView) -> GridView:
    """The view of a grid whose driver ends now: whatever is not over is killed."""
    return killed(view, view.reason or "the job ended before this was done")


def dense_state(part: DenseView) -> RunState:
    """Return what an unpruned model's run says: its source and its scores."""
    return RunState(
        kind="dense",
        key=part.model.fingerprint,
        name=f"{part.model.name} dense",
        status=part.status,
        reason=reason_of(part),
        params={
            "model": part.model.name,
            "layers": str(part.model.layers),
            "source": redact(part.model.source),
        },
        tags={"trsp.latency_doubt": part.measurement.doubt if part.measurement else ""},
        finals=shown_metrics(part),
        note=f"The unpruned model: the reference of all cells of **{part.model.name}**.",
    )


def _text_digests(settings: Mapping[str, object]) -> dict[str, str]:
    """A digest per text of the evaluation, by name: of how the text is read and cut into windows.

    MLflow tells data sets of one name apart by digest.
    """
    evaluation = settings.get("evaluation")
    perplexity = evaluation.get("perplexity", ()) if isinstance(evaluation, Mapping) else ()
    return {item["text"]["name"]: digest(item)[:8] for item in perplexity}
