"""The bytes that are planned beside those that real stages of a tiny model write."""

from pathlib import Path

import pytest

from orchestrator.costs.held import cost_in
from orchestrator.costs.of_grid import cost_of
from orchestrator.execution.launcher import InProcessLauncher
from orchestrator.grid.schema import load_grid
from orchestrator.stages.resolve import resolve
from orchestrator.store.store import Store
from tests.orchestrator.costs.planned import TWO_CORES
from tests.orchestrator.fake_launcher import controller_of, drive
from tests.tiny_grid import tiny_grid


def test_what_is_planned_is_what_is_written(
    tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    """Two checkpoints of 3 and 5 of 6 layers, with scores of all; nothing is trained."""
    path = tiny_grid(
        tmp_path,
        tiny_llama,
        text_file,
        selectors="reverse",
        transfer="none",
        measurement={"protocol": "none"},
    )
    resolved = resolve(load_grid(path), hardware="cpu")
    planned = cost_of(resolved, TWO_CORES)
    drive(controller_of(resolved, InProcessLauncher()))
    store = Path(resolved.grid.storage.store)
    written = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    assert planned.kept_bytes.likely == pytest.approx(written, rel=0.1)
    assert cost_in(Store(str(store)), resolved, TWO_CORES).left == 0
