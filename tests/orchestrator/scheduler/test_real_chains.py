"""The controller with real stages of a tiny model, those of a cell in one process: this one."""

from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.execution.launcher import InProcessLauncher
from orchestrator.grid.schema import load_grid
from orchestrator.stages.resolve import resolve
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.stage_results import StageResults
from orchestrator.views.grid_view import CellView, Status
from tests.orchestrator.fake_launcher import controller_of, drive, store_of
from tests.tiny_grid import tiny_grid


def cell_of(folder: Path, model: Path, text: Path, **changes: Any) -> CellView:
    """Run a grid of one cell to its end, without a measurement."""
    settings: dict[str, Any] = {
        "ratios": [0.2],
        "gate_l1": 0.1,
        "measurement": {"protocol": "none"},
        "budgets": [],
    }
    selector = {"selectors": {"name": "reverse"}}
    grid = resolve(
        load_grid(tiny_grid(folder, model, text, **(settings | selector | changes))), "cpu"
    )
    view = drive(controller_of(grid, InProcessLauncher()))
    assert view.status is Status.DONE
    (cell,) = view.cells
    stored = store_of(grid).stages.stored(cell.stage_keys[StageKind.TRANSFER])
    assert stored is not None
    assert stored["files"] is None
    return cell


def test_a_checkpoint_is_written_once_and_read_by_nobody_who_has_it(
    tmp_path: Path, tiny_llama: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, staged = Counter[str](), Counter[str]()
    local_files, staging = StageResults.local_files, StageResults.staging

    def reading(self: StageResults, key: str) -> AbstractContextManager[Path]:
        read[key] += 1
        return local_files(self, key)

    def writing(self: StageResults, ticket: Any) -> AbstractContextManager[Path]:
        staged[ticket.key] += 1
        return staging(self, ticket)

    monkeypatch.setattr(StageResults, "local_files", reading)
    monkeypatch.setattr(StageResults, "staging", writing)
    cell = cell_of(tmp_path, tiny_llama, text_file)
    assert read == {}
    assert staged == {cell.stage_keys[StageKind.PRUNE]: 1}


def test_a_cell_comes_out_as_it_does_of_a_process_per_stage(
    tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    one = cell_of(tmp_path / "one", tiny_llama, text_file)
    resources = {"hand_over": False}
    each = cell_of(tmp_path / "each", tiny_llama, text_file, resources=resources)
    assert one.stage_keys == each.stage_keys
    assert one.metrics() == each.metrics()
    assert one.transfer is not None
    assert each.transfer is not None
    assert one.transfer.model_dump(exclude={"seconds"}) == each.transfer.model_dump(
        exclude={"seconds"}
    )
