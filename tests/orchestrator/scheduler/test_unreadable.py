"""What the store holds and nobody can read fails the stage whose it is, and nothing else."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from orchestrator.cli import main
from orchestrator.execution.launcher import InProcessLauncher
from orchestrator.grid.schema import load_grid
from orchestrator.run import view_offline
from orchestrator.stages.resolve import Resolved, resolve
from orchestrator.stages.stage_specs import StageKind, ranking_spec
from orchestrator.store import files
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator.fake_launcher import (
    FakeLauncher,
    controller_of,
    drive,
    failed_stages,
    one_cell,
    resolved,
    store_of,
)
from tests.orchestrator.fresh_view import view_of
from tests.tiny_grid import tiny_grid

OUT_OF_MEMORY = Failure("OutOfMemoryError", "2 GiB wanted", FailureKind.OUT_OF_MEMORY)
POISONED = {"round": 0, "layer": 1, "scores": {"1": None}}  # as an older version wrote a NaN


def drive_again(grid: Resolved) -> GridView:
    """A second driver on the same store."""
    return drive(controller_of(grid, FakeLauncher()))


def poison_ranking(grid: Resolved, gate_l1: float = 1e-3, number: int = 0) -> Path:
    """Leave a round that cannot be read in the ranking at ``gate_l1``, and return its file."""
    cell = next(cell for cell in grid.cells if cell.gate_l1 == gate_l1)
    folder = Path(store_of(grid).stages.uri(ranking_spec(cell, grid.study).key))
    path = folder / "rounds" / f"{number:03d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(POISONED | {"round": number}))
    return path


def test_a_poisoned_ranking_fails_its_cells_with_the_file_and_others_go_on(tmp_path: Path) -> None:
    grid = resolved(tmp_path)
    path = poison_ranking(grid)
    view = drive_again(grid)
    assert Counter(cell.status for cell in view.cells) == {Status.DONE: 2, Status.FAILED: 2}
    for stage, reason in failed_stages(view):
        assert stage == "rank"
        assert f"{path} cannot be read: scores.1: " in reason
        assert "delete this file and run again" in reason
    assert json.loads(path.read_text()) == POISONED, "what cannot be read is not written over"


def test_a_poisoned_round_spares_the_cells_that_need_fewer(tmp_path: Path) -> None:
    grid = resolved(tmp_path, ratios=[0.2], gate_l1=1e-3)
    drive_again(grid)
    poison_ranking(grid, number=2)
    deeper = resolved(tmp_path, ratios=[0.2, 0.5], gate_l1=1e-3)
    assert [cell.status for cell in drive_again(deeper).cells] == [Status.DONE, Status.FAILED]


def test_a_deleted_file_is_the_cure(tmp_path: Path) -> None:
    grid = resolved(tmp_path)
    path = poison_ranking(grid)
    drive_again(grid)
    path.unlink()
    assert drive_again(grid).status is Status.DONE


def test_status_and_best_show_a_poisoned_ranking_as_failed(tmp_path: Path) -> None:
    grid = resolved(tmp_path)
    path = poison_ranking(grid)
    view = view_of(grid)
    assert {str(path) in reason for _, reason in failed_stages(view)} == {True}
    assert len(failed_stages(view)) == 2


@pytest.mark.parametrize("kind", [StageKind.TRANSFER, StageKind.PRUNE, StageKind.EVALUATE])
@pytest.mark.parametrize("content", ["[]", '{"record": []}', '{"record": {"scores": 1}}'])
def test_a_result_of_another_shape_fails_its_cell(
    tmp_path: Path, kind: StageKind, content: str
) -> None:
    grid = one_cell(tmp_path, storage={"store": f"{tmp_path}/s", "keep_transfer_weights": True})
    drive_again(grid)
    for name in ("prune", "evaluate", "measure", "transfer"):  # so that every kind is needed
        for path in Path(store_of(grid).uri).glob(f"stages/{name}/*/result.json"):
            if name == kind or (kind is StageKind.TRANSFER and name == "prune"):
                path.unlink() if name != kind else path.write_text(content)
    view = drive_again(grid)
    (cell,) = view.cells
    assert (cell.status, cell.stage) == (Status.FAILED, kind)
    assert "result.json cannot be read" in cell.reason


@pytest.mark.parametrize("content", ["[]", '{"owner": 3}', "null", "7"])
@pytest.mark.parametrize("name", ["claim.json", "failures/1.json", "snapshots/000001-a/state.json"])
def test_what_else_lies_beside_a_result_keeps_nobody_from_it(
    tmp_path: Path, name: str, content: str
) -> None:
    grid = one_cell(tmp_path)
    folder = Path(store_of(grid).stages.uri(ranking_spec(grid.cells[0], grid.study).key))
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text(content)
    view_of(grid)
    assert drive_again(grid).status is Status.DONE


@pytest.mark.parametrize("content", ["[]", '{"ranks": "many"}', "{", "null"])
def test_a_rung_that_cannot_be_read_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    launcher = FakeLauncher(fail=[(StageKind.TRANSFER, OUT_OF_MEMORY)])
    grid = one_cell(tmp_path)
    drive(controller_of(grid, launcher))
    store = Path(store_of(grid).uri)
    for learned in (store / "layouts").iterdir():
        learned.write_text(content)
    shutil.rmtree(store / "stages" / "transfer")
    shutil.rmtree(store / "stages" / "prune")
    second = FakeLauncher()
    assert drive(controller_of(grid, second)).status is Status.DONE
    first, climbed = launcher.tasks(StageKind.TRANSFER)
    (again,) = second.tasks(StageKind.TRANSFER)
    assert again.layout == first.layout != climbed.layout


def test_a_file_that_we_may_not_read_fails_its_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = one_cell(tmp_path)
    drive_again(grid)
    (result,) = Path(store_of(grid).uri).glob("stages/evaluate/*/result.json")
    read = files.read_file

    def refused(fs: Any, path: str) -> bytes | None:
        if path == str(result):
            raise PermissionError(13, "Permission denied")
        return read(fs, path)

    monkeypatch.setattr(files, "read_file", refused)
    (cell,) = drive_again(grid).cells
    assert (cell.status, cell.stage) == (Status.FAILED, "evaluate")
    assert f"{result} cannot be read: [Errno 13] Permission denied" in cell.reason


@pytest.fixture
def ruined_and_healthy(tmp_path: Path, tiny_llama: Path, text_file: Path) -> Path:
    """A grid of two models, one with a matrix of NaN, ranked by ``block_influence``."""
    ruined = shutil.copytree(tiny_llama, tmp_path / "ruined")
    tensors = load_file(ruined / "model.safetensors")
    tensors["model.layers.1.mlp.down_proj.weight"].fill_(float("nan"))
    save_file(tensors, ruined / "model.safetensors", metadata={"format": "pt"})
    return tiny_grid(
        tmp_path / "grid",
        tiny_llama,
        text_file,
        models=[str(ruined), str(tiny_llama)],
        selectors="block_influence",
        ratios=0.2,
        transfer="none",
        measurement={"protocol": "none"},
    )


def test_a_model_of_nan_takes_nothing_from_its_neighbour(
    ruined_and_healthy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the first run, in the next, and for who only looks."""
    grid = resolve(load_grid(ruined_and_healthy), hardware="cpu")
    for _ in range(2):
        view = drive(controller_of(grid, InProcessLauncher()))
        assert [cell.status for cell in view.cells] == [Status.FAILED, Status.DONE]
        assert "TrainingDivergedError: the scores of" in view.cells[0].reason
        assert "of the learning rate" not in view.cells[0].reason
    rounds = Path(grid.grid.storage.store).glob("stages/rank/*/rounds/*.json")
    assert [json.loads(path.read_text())["layer"] for path in rounds] == [view.cells[1].layers[0]]
    assert [cell.status for cell in view_offline(grid.grid).cells] == [Status.FAILED, Status.DONE]
    with pytest.raises(SystemExit, match="0"):
        main(["best", str(ruined_and_healthy)])
    assert "best: " in capsys.readouterr().out
