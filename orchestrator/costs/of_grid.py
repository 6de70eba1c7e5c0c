"""The cost of a grid as far as it is known: from its file alone, or with what its store holds."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.costs.cost import GridCost
from orchestrator.costs.count import grid_cost
from orchestrator.costs.disk import Keeping
from orchestrator.costs.machine import Machine
from orchestrator.costs.model_sizes import Sized, with_sizes
from orchestrator.costs.stage_costs import StageCosts
from orchestrator.grid.cells import ModelInfo
from orchestrator.scheduler.expected.durations import Durations
from orchestrator.scheduler.simulation.begun import NOTHING, Begun
from orchestrator.stages.model_info import content_files
from orchestrator.stages.resolve import Resolved


def cost_of(
    resolved: Resolved,
    machine: Machine,
    price: float | None = None,
    begun: Begun = NOTHING,
    durations: Durations | None = None,
) -> GridCost:
    """Return what is left to do of a grid, and what that costs on a machine.

    ``price``: of one hour of a device; default: that of the grid's resources. ``begun`` and
    ``durations``: what its store holds, if anything is known of that. Models of which nothing is
    known are left out, and named in the notes.
    """
    hardware = (machine.gpu_type or "GPU") if machine.gpus else "cpu"
    if not resolved.study.hardware:
        resolved = replace(resolved, study=replace(resolved.study, hardware=hardware))
    sized = with_sizes(resolved)
    grid = sized.resolved.grid
    costs = StageCosts(sized.resolved, machine, durations or Durations())
    keeping = Keeping(grid.storage, grid.resources, _small_bytes(sized.resolved.models))
    cost = grid_cost(sized.resolved, machine, costs, keeping, begun, price)
    of_cells = len(resolved.cells) + sum(resolved.expansion.unresolved.values())
    return replace(cost, of_cells=of_cells, notes=(*_notes(sized, machine), *cost.notes))


def _small_bytes(models: Mapping[str, ModelInfo]) -> dict[str, int]:
    """Return what a checkpoint has besides its weights, of models that are folders here."""
    folders = {name: Path(model.source) for name, model in models.items()}
    return {
        name: sum(
            file.stat().st_size for file in content_files(folder) if file.suffix != ".safetensors"
        )
        for name, folder in folders.items()
        if folder.is_dir()
    }


def _notes(sized: Sized, machine: Machine) -> Iterator[str]:
    if sized.guessed:
        sizes = ", ".join(f"{name} {_size(params)}" for name, params in sized.guessed.items())
        yield f"sizes by their names, for no config.json is on this machine: {sizes}"
    if sized.unknown:
        known = len(sized.resolved.models)
        yield (
            f"counted are {known} of {known + len(sized.unknown)} models; of the others neither a "
            f"config.json nor a size is known here: {', '.join(sized.unknown)}"
        )
    if machine.assumed:
        yield machine.assumed


def _size(params: float) -> str:
    return f"{params / 1e9:g}B" if params >= 1e9 else f"{params / 1e6:g}M"
