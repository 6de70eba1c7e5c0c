"""Chains on a store that is not of this machine: a checkpoint is uploaded beside the next stage."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.execution.chain import run_chain
from orchestrator.execution.run_stage import run_task
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.failures import FailureKind
from orchestrator.store.files import StoreFiles
from orchestrator.store.stage_results import StageResults
from orchestrator.store.store import Store
from tests.orchestrator.execution.chains import Cell, cell_of, left, train_quickly
from trsp.evaluation import items

TRANSFER, PRUNE, EVALUATE = StageKind.TRANSFER, StageKind.PRUNE, StageKind.EVALUATE
WAIT_S = 60.0


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    """A store that is asked as an object store is: files are copied there, and from there."""
    begin = StoreFiles.__init__

    def begin_remote(files: StoreFiles, uri: str) -> None:
        begin(files, uri)
        files.is_local = False

    upload = StoreFiles.upload

    def upload_to_folder(files: StoreFiles, local: Path, path: str) -> None:
        Path(files.uri, path).mkdir(parents=True)
        upload(files, local, path)

    monkeypatch.setattr(StoreFiles, "__init__", begin_remote)
    monkeypatch.setattr(StoreFiles, "upload", upload_to_folder)
    monkeypatch.setenv("TRSP_TMPDIR", str(tmp_path))
    monkeypatch.setattr("trsp.transfer.transfer", train_quickly)
    yield Store(str(tmp_path / "a store"))
    assert not list(tmp_path.glob("trsp-scratch-*/*")), "nothing is left of what was uploaded"


@pytest.fixture
def cell(tmp_path: Path, tiny_llama: Path, text_file: Path) -> Cell:
    return cell_of(tmp_path, tiny_llama, text_file)


@pytest.fixture
def untrained(tmp_path: Path, tiny_llama: Path, text_file: Path) -> Cell:
    return cell_of(tmp_path, tiny_llama, text_file, transfer="none")


class Upload:
    """Uploads that wait until the evaluation has computed its item."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.uploads: list[str] = []
        self._computed = threading.Event()
        upload, compute = StoreFiles.upload, items.perplexity_item

        def wait(files: StoreFiles, local: Path, path: str) -> None:
            assert self._computed.wait(WAIT_S), "the evaluation waits for the upload"
            if error is not None:
                raise error
            upload(files, local, path)
            self.uploads.append(path)

        def note(*given: Any) -> Any:
            item = compute(*given)
            self._computed.set()
            return item

        monkeypatch.setattr(StoreFiles, "upload", wait)
        monkeypatch.setattr(items, "perplexity_item", note)


def test_a_checkpoint_is_uploaded_once_beside_the_evaluation_and_never_read(
    cell: Cell, remote: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = Store(str(tmp_path / "apart"))
    cell.run_one_by_one(apart)
    with monkeypatch.context() as patch:
        upload = Upload(patch)
        patch.setattr(StoreFiles, "download", lambda *_: pytest.fail("it is in memory"))
        assert cell.run(remote) == {TRANSFER: None, PRUNE: None, EVALUATE: None}
    assert len(upload.uploads) == 1
    assert cell[PRUNE].key in upload.uploads[0]
    assert left(remote, cell) == left(apart, cell)


def test_nothing_of_an_evaluation_is_published_before_its_checkpoint(
    cell: Cell, remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another training may give other weights: scores of these would be taken for theirs."""
    Upload(monkeypatch)
    published: list[str] = []
    write_spec = StageResults.write_spec

    def note(stages: StageResults, spec: Any) -> None:
        write_spec(stages, spec)
        published.append(spec.kind)
        if spec.kind not in (TRANSFER, PRUNE):
            assert stages.done(cell[PRUNE].key)

    monkeypatch.setattr(StageResults, "write_spec", note)
    assert list(cell.run(remote).values()) == [None, None, None]
    assert published == [PRUNE, TRANSFER, StageKind.SCORE, EVALUATE]


FORBIDDEN = OSError(errno.EACCES, "Access Denied")


def test_a_checkpoint_that_cannot_be_uploaded_fails_stage_two_which_it_was_to_keep(
    cell: Cell, remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    Upload(monkeypatch, FORBIDDEN)
    outcomes = cell.run(remote)
    failure = outcomes[TRANSFER]
    assert failure is not None
    assert "Access Denied" in failure.message
    assert outcomes == {TRANSFER: failure}
    for key in (*(cell[kind].key for kind in outcomes), *cell.item_keys()):
        assert remote.stages.stored(key) is None


def test_a_checkpoint_that_cannot_be_uploaded_fails_its_prune_and_not_the_evaluation(
    untrained: Cell, remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    Upload(monkeypatch, FORBIDDEN)
    outcomes = untrained.run(remote)
    failure = outcomes[PRUNE]
    assert failure is not None
    assert outcomes == {PRUNE: failure}
    assert remote.failures.history(untrained[PRUNE].key) == (failure,)
    assert remote.failures.history(untrained[EVALUATE].key) == ()


def test_an_evaluation_that_fails_waits_for_the_upload_and_keeps_its_items(
    cell: Cell, remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    Upload(monkeypatch)

    def fail(*_: Any) -> None:
        raise RuntimeError("it failed")

    monkeypatch.setattr("trsp.evaluation.items.assembled", fail)
    outcomes = cell.run(remote)
    assert outcomes[EVALUATE] is not None
    assert outcomes == {TRANSFER: None, PRUNE: None, EVALUATE: outcomes[EVALUATE]}
    assert outcomes[EVALUATE].kind is FailureKind.UNKNOWN
    assert all(remote.stages.done(key) for key in (cell[PRUNE].key, *cell.item_keys()))


def test_a_chain_that_is_told_to_go_while_it_uploads_begins_nothing_more(
    cell: Cell, remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, told = StoreFiles.upload, threading.Event()

    def wait(files: StoreFiles, local: Path, path: str) -> None:
        assert told.wait(WAIT_S), "nobody asks while the upload lasts"
        upload(files, local, path)

    def leaving() -> bool:
        told.set()
        return True

    monkeypatch.setattr(StoreFiles, "upload", wait)
    computed: list[str] = []
    outcomes = run_chain(cell.chain(remote), leaving, computes=computed.append)
    assert outcomes == {cell[TRANSFER].key: None, cell[PRUNE].key: None}
    assert computed == [cell[TRANSFER].key, cell[PRUNE].key]
    assert remote.stages.done(cell[PRUNE].key)


def test_a_single_stage_uploads_before_it_ends(untrained: Cell, remote: Store) -> None:
    (task,) = untrained.tasks(remote, (PRUNE,))
    assert run_task(task) is None
    assert remote.stages.done(untrained[PRUNE].key)
