"""``trsp run`` from a grid file to registered checkpoints on a real local Ray, and run again."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.execution.launcher import InProcessLauncher
from orchestrator.execution.stage_task import StageTask
from orchestrator.grid.schema import load_grid
from orchestrator.run import run_grid
from orchestrator.stages.resolve import resolve
from orchestrator.store.store import Store
from orchestrator.views.grid_view import Status
from tests.integration import drivers
from tests.tiny_grid import tiny_grid

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
TWO_CELLS: dict[str, Any] = {"ratios": [0.2, 0.5], "gate_l1": 0.1, "name": "tiny"}


class HereLauncher(InProcessLauncher):
    """Runs stages in this process, as if it were the hardware that another launcher ran on."""

    def __init__(self, hardware: str) -> None:
        super().__init__()
        self._hardware = hardware
        self.started: list[str] = []  # keys of stages

    def hardware(self) -> str:
        return self._hardware

    def start(self, task: StageTask) -> None:
        self.started.append(task.spec.key)
        super().start(task)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path, text_file: Path
) -> tuple[Path, str]:
    """A grid of two cells with everything on, run to its end, and what was printed.

    It lies in a folder with a blank in its name. The first process of the ranking is killed.
    """
    folder = tmp_path_factory.mktemp("finished") / "a grid"
    storage = {"store": str(folder / "store"), "keep_transfer_weights": True}
    grid = tiny_grid(folder, tiny_llama, text_file, **TWO_CELLS, storage=storage)
    driver = drivers.start(grid)
    drivers.wait_until(lambda: drivers.stage_process(driver, "rank"), driver).kill()
    printed = drivers.end(driver)
    assert driver.returncode == 0, printed
    return grid, printed


@pytest.fixture
def here(finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> HereLauncher:
    """What runs stages in this process, with the names of the hardware that the grid ran on."""
    monkeypatch.setenv("TRSP_HOME", str(finished[0].parent / "home"))
    grid = load_grid(finished[0])
    kept = Store(grid.storage.store).grids.load(resolve(grid).key)
    return HereLauncher(kept["hardware"])


def test_every_part_is_done_and_the_best_is_named(finished: tuple[Path, str]) -> None:
    grid, printed = finished
    view = drivers.view(grid)
    assert {part.status for part in (*view.parts, *view.rankings)} == {Status.DONE}
    assert "grid tiny" in printed
    assert "2 of 2 cells done" in printed
    assert "tiny-best-params-60k: best perplexity/tiny" in printed
    assert "alias tiny-best-params-60k moves: nobody had it" in printed
    assert "workflowType=machine_learning" in printed


def test_mlflow_has_every_run_finished_and_the_alias_on_the_best(
    finished: tuple[Path, str],
) -> None:
    grid, _ = finished
    counts = drivers.run_counts(grid)
    assert (counts["grid"], counts["rank"], counts["cell"]) == (1, 1, 2)
    assert drivers.all_statuses(grid) == {"FINISHED"}
    client = drivers.client(grid)
    versions = client.search_model_versions()
    assert len(versions) == 2
    (name,) = {version.name for version in versions}
    best = min(drivers.view(grid).cells, key=lambda cell: cell.metrics()["perplexity/tiny"])
    assert (
        client.get_model_version_by_alias(name, "tiny-best-params-60k").tags["trsp.cell"]
        == best.cell.key
    )


def test_model_cards_hold_scores_of_the_checkpoint_and_of_the_dense_model(
    finished: tuple[Path, str],
) -> None:
    view = drivers.view(finished[0])
    dense = view.dense[0].evaluation
    assert dense is not None
    for cell in view.cells:
        card = (Path(str(cell.checkpoint_uri)) / "README.md").read_text()
        row = next(line for line in card.splitlines() if "perplexity/tiny" in line)
        for score in (cell.metrics()["perplexity/tiny"], dense.scores["perplexity/tiny"].value):
            assert f"{score:.4g}" in row
        assert cell.cell.name in card


def test_every_checkpoint_is_proven_in_a_fresh_process(finished: tuple[Path, str]) -> None:
    """Loads, equals the bypassed model's logits, generates alike with and without the cache."""
    command = [sys.executable, "-m", "tests.verify_checkpoints", str(finished[0])]
    proven = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert proven.returncode == 0, proven.stderr
    assert (
        proven.stdout.count("logits equal")
        == proven.stdout.count("agrees with and without the cache")
        == 2
    )


def test_only_what_was_deleted_is_done_again(finished: tuple[Path, str]) -> None:
    grid, _ = finished
    before, shown = drivers.results(grid), drivers.view(grid)
    lost = shown.cells[0].stage_keys["evaluate"]
    next((grid.parent / "store").rglob(f"{lost}/result.json")).unlink()
    drivers.run(grid)
    after = drivers.results(grid)
    assert {key for key in after if after[key] != before.get(key)} == {lost}
    assert before.keys() == after.keys()
    again = drivers.view(grid).cells[0].evaluation
    assert again is not None
    assert shown.cells[0].evaluation is not None
    assert again.scores == shown.cells[0].evaluation.scores


def test_a_second_run_starts_no_stage(finished: tuple[Path, str], here: HereLauncher) -> None:
    grid, _ = finished
    before, counts = drivers.results(grid), drivers.run_counts(grid)
    assert run_grid(grid, launcher=here) == 0
    assert here.started == []
    assert drivers.results(grid) == before
    assert drivers.run_counts(grid) == counts


def test_a_stage_whose_process_is_killed_is_tried_again(finished: tuple[Path, str]) -> None:
    store = finished[0].parent / "store"
    (failure,) = store.glob("stages/rank/*/failures/*.json")
    assert "WorkerCrashedError" in failure.read_text()


def test_a_second_store_without_ray_gets_the_same_result(
    finished: tuple[Path, str],
    here: HereLauncher,
    tmp_path: Path,
    tiny_llama: Path,
    text_file: Path,
) -> None:
    """The same seed chooses the same layers and scores the same, also after a kill."""
    grid = tiny_grid(tmp_path, tiny_llama, text_file, **TWO_CELLS)
    assert run_grid(grid, launcher=here) == 0
    one, other = drivers.view(finished[0]), drivers.view(grid)
    assert [rank.order for rank in one.rankings] == [rank.order for rank in other.rankings]
    for cell, twin in zip(one.cells, other.cells, strict=True):
        assert cell.layers == twin.layers
        assert cell.stage_keys == twin.stage_keys
        assert cell.metrics()["perplexity/tiny"] == pytest.approx(
            twin.metrics()["perplexity/tiny"], rel=1e-4
        )
