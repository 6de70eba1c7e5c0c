"""Commits that meet an error half-way: a result never names files that are gone."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress

import pytest

from orchestrator.store.claims import Standing
from orchestrator.store.files import StoreFiles
from orchestrator.store.store import Store
from tests.orchestrator.store.sample_stage import KEY, SPEC, commit, files_folders, ticket_of
from trsp.errors import StoreError


def _fail_once(monkeypatch: pytest.MonkeyPatch, call: str, part: str, number: int) -> None:
    """Let the first call of ``StoreFiles`` on a path with ``part`` fail after it took effect."""
    real, failed = getattr(StoreFiles, call), []

    def failing(files: StoreFiles, path: str, *rest: object) -> object:
        if part in path and not failed:
            failed.append(path)
            if call == "create":
                real(files, path, *rest)
            raise OSError(number, os.strerror(number))
        return real(files, path, *rest)

    monkeypatch.setattr(StoreFiles, call, failing)


@pytest.mark.parametrize(
    ("call", "part", "number"),
    [
        ("write", "result.json", errno.ENOSPC),
        ("create", "result.json", errno.ENOSPC),
        ("create", "claims/000002", errno.ETIMEDOUT),
        ("remove_folder", "snapshots", errno.ENOTEMPTY),
    ],
    ids=["no room to replace", "no room for the result", "the answer is lost", "snapshots stay"],
)
def test_a_commit_that_ends_in_an_error_keeps_the_files_that_its_result_names(
    local: Store, monkeypatch: pytest.MonkeyPatch, call: str, part: str, number: int
) -> None:
    ticket = ticket_of(local)
    _fail_once(monkeypatch, call, part, number)
    with suppress(OSError), local.stages.staging(ticket) as folder:
        (folder / "model.safetensors").write_text("weights")
        local.stages.commit(ticket, SPEC, {}, folder)
    assert local.claims.release(ticket) is Standing.COMMITTED
    assert local.stages.done(KEY)
    with local.stages.local_files(KEY) as files:
        assert (files / "model.safetensors").read_text() == "weights"


def test_a_commit_that_a_full_store_refuses_leaves_no_files_on_it(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = ticket_of(local)

    def full(*_: object) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(StoreFiles, "create", full)
    with pytest.raises(OSError, match="No space"), local.stages.staging(ticket) as folder:
        local.stages.commit(ticket, SPEC, {}, folder)
    assert files_folders(local) == []


def test_a_slow_committer_does_not_bring_back_files_that_were_dropped_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node was cut off as it wrote the result: others have seen to that, and gone on."""
    others, ticket = Store(store.uri), ticket_of(store)

    def slow(real: Callable[[str, bytes], object]) -> Callable[[str, bytes], object]:
        def run(path: str, data: bytes) -> object:
            if path.endswith("result.json"):
                monkeypatch.undo()
                others.claims.release(ticket)
                others.stages.drop_files(KEY)
            return real(path, data)

        return run

    with store.stages.staging(ticket) as folder:
        (folder / "model.safetensors").write_text("weights")
        monkeypatch.setattr(store.files, "create", slow(store.files.create))
        monkeypatch.setattr(store.files, "write", slow(store.files.write))
        store.stages.commit(ticket, SPEC, {"value": 1}, folder)
    assert not others.stages.done(KEY)
    assert others.stages.result(KEY) == {"value": 1}


def test_a_drop_that_was_cut_short_is_gone_on_with(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store)

    def away(*_: object) -> None:
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    with monkeypatch.context() as outage:
        outage.setattr(StoreFiles, "remove_folder", away)
        with pytest.raises(OSError, match="timed out"):
            store.stages.drop_files(KEY)
    assert not store.stages.done(KEY)
    assert store.stages.has_files(KEY)
    with pytest.raises(StoreError), store.stages.local_files(KEY):
        pass
    store.stages.drop_files(KEY)
    assert not store.stages.has_files(KEY)
    assert not [name for name in store.stages.contents(KEY) if name.startswith("files-")]


def test_files_of_a_drop_that_was_cut_short_are_orphans(local: Store) -> None:
    commit(local)
    stored = local.stages.stored(KEY)
    assert stored is not None
    local.files.write_json(f"stages/prune/{KEY}/result.json", {**stored, "dropped": True})
    local.stages.remove_orphans(KEY)
    assert files_folders(local) == []
