"""What is examined: the addresses, folders and sources that a grid names, or the defaults."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.doctor.probes.source_probe import Source
from orchestrator.grid.axes import ModelEntry
from orchestrator.grid.locations import absolute_path
from orchestrator.grid.run_settings import Storage, Tracking
from orchestrator.grid.schema import Grid
from orchestrator.stages.resolve import absolute_paths
from trsp.checkpoints.model_source import local_folder
from trsp.config import TextSource
from trsp.errors import InvalidInputError


@dataclass(frozen=True)
class Subject:
    """Where a grid's results and runs go, what it reads, and what else it writes to.

    ``folders``: (name, path) of folders of its own on each node.
    """

    store: str
    tracking: str
    sources: tuple[Source, ...] = ()
    folders: tuple[tuple[str, str], ...] = ()
    wants_gpus: bool = False


def subject_of(grid: Grid | None) -> Subject:
    """Return what a run of the grid would use; without one, what any run uses by default."""
    if grid is None:
        return Subject(Storage().store, Tracking().uri, folders=_store_folder(Storage().store))
    grid = absolute_paths(grid)
    folders = _store_folder(grid.storage.store)
    if grid.engine != "auto" and grid.engine.nvme_path:
        folders += (("engine.nvme_path", grid.engine.nvme_path),)
    return Subject(
        grid.storage.store,
        grid.tracking.uri,
        tuple(_sources(grid)),
        folders,
        grid.resources.use_gpus is True,
    )


def _store_folder(store: str) -> tuple[tuple[str, str], ...]:
    """Return the store's folder by name, where it is one."""
    return () if "://" in store else (("store", store),)


def _sources(grid: Grid) -> Iterable[Source]:
    """Yield the models, texts and benchmark data of the grid, each once."""
    texts = [grid.calibration.text, *(each.text for each in grid.evaluation.perplexity)]
    found = [*map(_model, grid.models), *map(_text, texts)]
    benchmarks = grid.evaluation.benchmarks
    if benchmarks and benchmarks.data:
        found.append(Source("benchmark data", benchmarks.data, "local"))
    return dict.fromkeys(found)


def _model(entry: ModelEntry) -> Source:
    """Return where a model is looked for: a folder, there or not, or the hub."""
    name = f"model {entry.name}"
    try:
        on_hub = local_folder(entry.source) is None
    except InvalidInputError:  # a path, and no folder is there
        on_hub = False
    if on_hub:
        return Source(name, entry.source, "model", entry.revision)
    return Source(name, absolute_path(entry.source), "local")


def _text(text: TextSource) -> Source:
    if text.path is not None:
        return Source(f"text {text.name}", text.path, "local")
    return Source(f"text {text.name}", str(text.dataset), "dataset", text.revision)
