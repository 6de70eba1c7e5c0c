"""``trsp run`` from a grid file to registered checkpoints on a real local Ray; stopped, killed and run again."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.grid.schema import load_grid
from orchestrator.run import view_offline
from orchestrator.views.grid_view import GridView, Status
from tests.integration import drivers
from tests.tiny_grid import tiny_grid

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
TWO_CELLS: dict[str, Any] = {"ratios": [0.2, 0.5], "gate_l1": 0.1, "name": "tiny"}
QUICK = TWO_CELLS | {
    "selectors": "block_influence",
    "transfer": "none",
    "measurement": {"protocol": "none"},
}


def look(grid: Path) -> GridView:
    return view_offline(load_grid(grid))


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path, text_file: Path
) -> tuple[Path, str]:
    """A grid of two cells with everything on, run to its end, in a folder with a blank in its name; and what was printed."""
    folder = tmp_path_factory.mktemp("finished") / "a grid"
    storage = {"store": str(folder / "store"), "keep_transfer_weights": True}
    grid = tiny_grid(folder, tiny_llama, text_file, **TWO_CELLS, storage=storage)
    return grid, drivers.run(grid)


def test_every_part_is_done_and_the_best_is_named(finished: tuple[Path, str]) -> None:
    grid, printed = finished
    view = look(grid)
    assert {part.status for part in (*view.parts, *view.rankings)} == {Status.DONE}
    assert "grid tiny" in printed
    assert "2 of 2 cells done" in printed
    assert "best-params-60k: best perplexity/tiny" in printed
    assert "workflowType=machine_learning" in printed


def test_mlflow_has_every_run_finished_and_the_alias_on_the_best(
    finished: tuple[Path, str],
) -> None:
    grid, _ = finished
    runs = drivers.runs(grid)
    assert {
        kind: len(found) for kind, found in runs.items() if kind in ("grid", "rank", "cell")
    } == {
        "grid": 1,
        "rank": 1,
        "cell": 2,
    }
    assert {status for found in drivers.statuses(grid).values() for status in found} == {"FINISHED"}
    client = drivers.client(grid)
    versions = client.search_model_versions()
    assert len(versions) == 2
    (name,) = {version.name for version in versions}
    best = min(look(grid).cells, key=lambda cell: cell.metrics()["perplexity/tiny"])
    assert (
        client.get_model_version_by_alias(name, "best-params-60k").tags["trsp.cell"]
        == best.cell.key
    )


def test_model_cards_hold_scores_of_the_checkpoint_and_of_the_dense_model(
    finished: tuple[Path, str],
) -> None:
    view = look(finished[0])
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
    command = [sys.executable, str(ROOT / "tests" / "verify_checkpoints.py"), str(finished[0])]
    proven = subprocess.run(command, check=False, capture_output=True, text=True)
    assert proven.returncode == 0, proven.stderr
    assert (
        proven.stdout.count("logits equal")
        == proven.stdout.count("agrees with and without the cache")
        == 2
    )


def test_only_what_was_deleted_is_done_again(finished: tuple[Path, str]) -> None:
    grid, _ = finished
    before, shown = drivers.results(grid), look(grid)
    lost = shown.cells[0].stage_keys["evaluate"]
    next((grid.parent / "store").rglob(f"{lost}/result.json")).unlink()
    drivers.run(grid)
    after = drivers.results(grid)
    assert {key for key in after if after[key] != before.get(key)} == {lost}
    assert before.keys() == after.keys()
    again = look(grid).cells[0].evaluation
    assert again is not None
    assert shown.cells[0].evaluation is not None
    assert again.scores == shown.cells[0].evaluation.scores


def test_a_second_run_starts_no_stage(finished: tuple[Path, str]) -> None:
    grid, _ = finished
    before, count = (
        drivers.results(grid),
        {kind: len(found) for kind, found in drivers.runs(grid).items()},
    )
    drivers.run(grid)
    assert drivers.results(grid) == before
    assert {kind: len(found) for kind, found in drivers.runs(grid).items()} == count


def test_a_second_store_and_a_killed_worker_give_the_same_result(
    finished: tuple[Path, str], tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    """The same seed chooses the same layers and scores the same; a stage whose process is killed is tried again."""
    grid = tiny_grid(tmp_path, tiny_llama, text_file, **TWO_CELLS)
    driver = drivers.start(grid)
    drivers.wait_until(lambda: drivers.stage_process(driver, "rank"), driver).kill()
    printed = drivers.end(driver)
    assert driver.returncode == 0, printed
    (failure,) = (tmp_path / "store").glob("stages/rank/*/failures/*.json")
    assert "WorkerCrashedError" in failure.read_text()
    one, other = look(finished[0]), look(grid)
    assert [rank.order for rank in one.rankings] == [rank.order for rank in other.rankings]
    for cell, twin in zip(one.cells, other.cells, strict=True):
        assert cell.layers == twin.layers
        assert cell.stage_keys == twin.stage_keys
        assert cell.metrics()["perplexity/tiny"] == pytest.approx(
            twin.metrics()["perplexity/tiny"], rel=1e-4
        )


def test_stopped_then_killed_then_run_to_its_end_nothing_is_done_twice(
    tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    grid = tiny_grid(tmp_path, tiny_llama, text_file, **QUICK)

    stopped = drivers.start(grid)
    drivers.wait_until(lambda: drivers.results(grid), stopped)
    stopped.send_signal(signal.SIGTERM)
    printed = drivers.end(stopped, limit_s=60)
    assert stopped.returncode == 143, printed
    assert "stopped by SIGTERM" in printed
    assert drivers.statuses(grid)["grid"] == {"KILLED"}
    assert "RUNNING" not in {
        status for found in drivers.statuses(grid).values() for status in found
    }
    assert any("stopped by SIGTERM" in str(run.data.tags) for run in drivers.runs(grid)["grid"])
    assert list((tmp_path / "store").rglob("claim.json")) == []
    first = drivers.results(grid)

    killed = drivers.start(grid)
    drivers.wait_until(lambda: drivers.results(grid, "prune"), killed)
    killed.kill()
    drivers.end(killed)
    second = drivers.results(grid)
    assert first.items() <= second.items()

    drivers.run(grid)
    assert second.items() <= drivers.results(grid).items()
    assert {part.status for part in look(grid).parts} == {Status.DONE}
    assert {status for found in drivers.statuses(grid).values() for status in found} == {"FINISHED"}
    assert {kind: len(found) for kind, found in drivers.runs(grid).items()}["grid"] == 1


def test_a_failed_cell_is_told_and_the_others_finish(
    tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    """The text is long enough by its bytes and too short by its tokens, which only the stage that reads it can know."""
    short = tmp_path / "short.jsonl"
    short.write_text('{"text": "' + "\\u00e9" * 8 + '"}\n')
    window = {"text": {"name": "short", "path": str(short)}, "window_tokens": 40}
    grid = tiny_grid(
        tmp_path / "g",
        tiny_llama,
        text_file,
        **QUICK | {"ratios": 0.2, "evaluation": {"perplexity": [window]}, "budgets": []},
    )
    driver = drivers.start(grid)
    printed = drivers.end(driver)
    assert driver.returncode == 1, printed
    assert "failed: tiny-llama r=0.2" in printed
    assert "short" in printed
    assert drivers.results(grid, "prune"), "what does not read the text was done"
    assert {status for found in drivers.statuses(grid).values() for status in found} <= {
        "FINISHED",
        "FAILED",
    }
