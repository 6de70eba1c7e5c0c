"""The stages of one cell of a tiny model, run as a chain or one by one, and what they leave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from orchestrator.coordination.stage_log import Ticket
from orchestrator.execution.chain import run_chain
from orchestrator.execution.run_stage import StageTask, run_task
from orchestrator.grid.schema import load_grid
from orchestrator.stages.resolve import resolve
from orchestrator.stages.score_items import score_items
from orchestrator.stages.stage_specs import StageKind, StageSpec, cell_stages
from orchestrator.store.failures import Failure
from orchestrator.store.store import Store
from tests.tiny import contents
from tests.tiny_grid import tiny_grid
from trsp.records import TransferRecord

LAYERS = (1, 4)
TRAINED = {"steps": 3, "blocks_per_step": 2, "learning_rate": 1e-3}
KINDS = (StageKind.TRANSFER, StageKind.PRUNE, StageKind.EVALUATE)


@dataclass(frozen=True)
class Cell:
    """The stages of a cell, by their kinds, in order."""

    stages: Mapping[StageKind, StageSpec]

    def __getitem__(self, kind: StageKind) -> StageSpec:
        return self.stages[kind]

    def tasks(
        self, store: Store, kinds: tuple[StageKind, ...] = KINDS, **settings: Any
    ) -> list[StageTask]:
        """One attempt at each of these stages that there are, each claimed, the first one first."""
        tasks = []
        for spec in (self[kind] for kind in kinds if kind in self.stages):
            ticket = store.claims.take(spec.key, "driver")
            assert isinstance(ticket, Ticket)
            task = StageTask(spec, store.uri, attempt=ticket.attempt, claim=ticket.number)
            tasks.append(replace(task, **settings))
        return tasks

    def chain(self, store: Store, *kinds: StageKind, **settings: Any) -> StageTask:
        head, *others = self.tasks(store, kinds or KINDS, **settings)
        return replace(head, then=tuple(others))

    def run(
        self, store: Store, *kinds: StageKind, **settings: Any
    ) -> dict[StageKind, Failure | None]:
        """Run a chain of these stages; return what became of each that it reached."""
        outcomes = run_chain(self.chain(store, *kinds, **settings))
        kind_of = {spec.key: kind for kind, spec in self.stages.items()}
        return {kind_of[key]: failure for key, failure in outcomes.items()}

    def run_one_by_one(self, store: Store, kinds: tuple[StageKind, ...] = KINDS) -> None:
        for task in self.tasks(store, kinds):
            failure = run_task(task)
            assert failure is None, failure.details

    def item_keys(self) -> list[str]:
        return [item.key for item in score_items(self[StageKind.EVALUATE]).values()]


def cell_of(folder: Path, model: Path, text: Path, **changes: Any) -> Cell:
    """A cell of the tiny grid, with these keys changed."""
    grid = tiny_grid(folder / "grid", model, text, **changes)
    resolved = resolve(load_grid(grid), hardware="cpu")
    specs = cell_stages(resolved.cells[0], resolved.study, LAYERS)
    return Cell({spec.kind: spec for spec in specs})


def left(store: Store, cell: Cell) -> dict[str, Any]:
    """Everything that counts of what the stages left: records without seconds, the checkpoint."""
    keys = [*(spec.key for spec in cell.stages.values()), *cell.item_keys()]
    records: dict[str, Any] = {}
    for key in keys:
        record = store.stages.result(key)
        records[key] = record and {k: v for k, v in record.items() if k != "seconds"}
    with store.stages.local_files(cell[StageKind.PRUNE].key) as folder:
        return {"records": records, "checkpoint": contents(folder)}


def weights_of(store: Store, cell: Cell) -> dict[str, bytes]:
    with store.stages.local_files(cell[StageKind.TRANSFER].key) as folder:
        return contents(folder)


def train_quickly(model: Any, layers: Sequence[int], *_: Any, **__: Any) -> TransferRecord:
    """Change a model's weights as a training does, in no time."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return TransferRecord(layers=tuple(layers), lm_loss=(3.0, 2.0), tokens=64, seconds=1.0)
