"""A grid of a tiny model whose stages the tests run in this process, and its store."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.execution.run_stage import StageTask, run_task
from orchestrator.grid.schema import load_grid
from orchestrator.layouts.layout import Layout
from orchestrator.stages.resolve import Resolved, resolve
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.store.failures import Failure
from orchestrator.store.store import Store
from tests.tiny_grid import tiny_grid

LAYERS = (1, 4)
SELECTORS = ["block_influence", "random", "reverse"]
RunStage = Callable[[StageSpec], Failure | None]


@pytest.fixture
def resolved(tmp_path: Path, tiny_llama: Path, text_file: Path) -> Resolved:
    """One cell per selector, without training, in a folder with a blank in its name."""
    grid = tiny_grid(
        tmp_path / "a grid",
        tiny_llama,
        text_file,
        selectors=SELECTORS,
        ratios=0.33,
        transfer="none",
    )
    return resolve(load_grid(grid), hardware="cpu")


@pytest.fixture
def store(resolved: Resolved) -> Store:
    return Store(resolved.grid.storage.store)


@pytest.fixture
def run(store: Store) -> RunStage:
    """What runs one stage in this process, and returns its failure."""
    return lambda spec: run_task(StageTask(spec, store.uri, Layout()))
