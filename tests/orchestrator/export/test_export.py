"""A cell's checkpoint handed on: as a folder, and to a hub."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import HFValidationError

from orchestrator.cli import main
from orchestrator.export.checkpoint import checkpoint_of
from orchestrator.export.to_folder import copy_to
from orchestrator.export.to_hub import push
from orchestrator.run import view_of
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind
from tests.orchestrator.fake_launcher import FakeLauncher, controller_of, drive, one_cell, store_of
from trsp.errors import InvalidInputError, UnreachableError


@pytest.fixture
def grid(tmp_path: Path) -> Resolved:
    """A grid of one cell that is done."""
    grid = one_cell(tmp_path)
    drive(controller_of(grid, FakeLauncher()))
    return grid


def exported(grid: Resolved, folder: Path) -> int:
    with checkpoint_of(store_of(grid), view_of(grid), "#1") as found:
        return copy_to(found, folder)


class FakeHub:
    """Notes what is uploaded, at the border to a service of others."""

    def __init__(self, error: Exception | None = None) -> None:
        self.said: list[dict[str, Any]] = []
        self._error = error

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> str:
        if self._error is not None:
            raise self._error
        self.said.append({"repo_id": repo_id, "private": private, "exist_ok": exist_ok})
        return f"https://hub/{repo_id}"

    def upload_folder(self, **what: Any) -> None:
        self.said.append(what)

    def upload_file(self, **what: Any) -> None:
        self.said.append(what)


def pushed(grid: Resolved, hub: FakeHub, public: bool = False) -> str:
    with checkpoint_of(store_of(grid), view_of(grid), "#1") as found:
        return push(found, "me/pruned", public, hub)


def test_the_folder_has_the_checkpoint_and_its_card(grid: Resolved, tmp_path: Path) -> None:
    size_bytes = exported(grid, tmp_path / "out" / "pruned")
    files = {path.name: path for path in (tmp_path / "out" / "pruned").iterdir()}
    assert set(files) == {"config.json", "README.md"}
    assert "perplexity" in files["README.md"].read_text(encoding="utf-8")
    assert size_bytes == sum(path.stat().st_size for path in files.values())


def test_what_is_in_the_store_stays_when_the_copy_changes(grid: Resolved, tmp_path: Path) -> None:
    exported(grid, tmp_path / "pruned")
    (tmp_path / "pruned" / "config.json").write_text("changed")
    exported(grid, tmp_path / "again")
    assert (tmp_path / "again" / "config.json").read_text() == "{}"


def test_a_folder_with_something_in_it_is_refused(grid: Resolved, tmp_path: Path) -> None:
    (tmp_path / "pruned").mkdir()
    (tmp_path / "pruned" / "mine").touch()
    with pytest.raises(InvalidInputError, match="is there already"):
        exported(grid, tmp_path / "pruned")
    assert [path.name for path in (tmp_path / "pruned").iterdir()] == ["mine"]


def test_a_place_that_cannot_be_written_is_refused(grid: Resolved, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="cannot be written"):
        exported(grid, tmp_path / "file" / "pruned")


def test_a_cell_that_is_not_done_has_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="has no checkpoint yet: it is waiting"):
        exported(one_cell(tmp_path), tmp_path / "pruned")


def test_weights_that_are_gone_are_said_to_be(grid: Resolved, tmp_path: Path) -> None:
    (cell,) = view_of(grid).cells
    store_of(grid).stages.drop_files(cell.stage_keys[StageKind.PRUNE])
    with pytest.raises(InvalidInputError, match="are gone, its scores are kept"):
        exported(grid, tmp_path / "pruned")


def test_a_repository_is_private_unless_asked(grid: Resolved) -> None:
    hub = FakeHub()
    assert pushed(grid, hub) == "https://hub/me/pruned"
    assert hub.said[0] == {"repo_id": "me/pruned", "private": True, "exist_ok": True}


def test_a_repository_may_be_public(grid: Resolved) -> None:
    hub = FakeHub()
    pushed(grid, hub, public=True)
    assert hub.said[0]["private"] is False


def test_the_card_of_today_is_uploaded_beside_the_weights(grid: Resolved) -> None:
    hub = FakeHub()
    pushed(grid, hub)
    folder, card = hub.said[1:]
    assert (folder["folder_path"] / "config.json").read_text() == "{}"
    assert folder["ignore_patterns"] == ["README.md"]
    assert b"perplexity" in card["path_or_fileobj"]


def test_a_hub_that_refuses_is_said_with_the_cure(grid: Resolved) -> None:
    with pytest.raises(InvalidInputError, match=r"refuses 'me/pruned'.*HF_TOKEN"):
        pushed(grid, FakeHub(HFValidationError("no such name")))


def test_a_hub_that_gives_no_answer_is_away(grid: Resolved) -> None:
    with pytest.raises(UnreachableError, match="gives no answer: refused"):
        pushed(grid, FakeHub(ConnectionError("refused")))


def test_one_place_is_to_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["export", "#1", "g.yaml"])
    assert "one of --to FOLDER, --gguf FILE and --push USER/NAME" in capsys.readouterr().err
