"""A stage's artifacts that are sent while its process goes on: whole before the commit, or gone."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.coordination.stage_log import ClaimLostError
from orchestrator.store.store import Store
from tests.orchestrator.store.sample_stage import KEY, SPEC, ticket_of
from trsp.errors import StoreError


def sent(store: Store) -> list[str]:
    """The names of what lies in the folders of artifacts of the stage."""
    folders = [name for name in store.stages.contents(KEY) if name.startswith("files-")]
    return sorted(
        name for folder in folders for name in store.files.names(f"stages/prune/{KEY}/{folder}")
    )


def blocked(store: Store, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let uploads wait until the event is set, or they are told to end."""
    may_go, upload = threading.Event(), store.files.upload

    def slow(local: Path, path: str, cancelled: Callable[[], bool]) -> None:
        while not may_go.wait(0.01) and not cancelled():
            pass
        upload(local, path, cancelled)

    monkeypatch.setattr(store.files, "upload", slow)
    return may_go


def test_a_folder_is_sent_while_its_process_goes_on_and_committed_once_it_is_there(
    remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go, ticket = blocked(remote, monkeypatch), ticket_of(remote)
    with remote.stages.staging(ticket) as folder:
        (folder / "model.safetensors").write_text("weights")
        remote.stages.upload_begins(ticket, folder)
        assert not remote.stages.done(KEY), "this process was not held up"
        may_go.set()
        remote.stages.commit(ticket, SPEC, {"value": 1}, folder)
        assert sent(remote) == ["model.safetensors"]
    assert remote.stages.done(KEY)


def test_a_folder_in_a_local_store_lies_there_already(local: Store) -> None:
    ticket = ticket_of(local)
    with local.stages.staging(ticket) as folder:
        (folder / "model.safetensors").write_text("weights")
        local.stages.upload_begins(ticket, folder)
        local.stages.commit(ticket, SPEC, {"value": 1}, folder)
    with local.stages.local_files(KEY) as files:
        assert (files / "model.safetensors").read_text() == "weights"


def test_what_goes_wrong_with_an_upload_is_an_error_of_the_commit(
    remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("the bucket is full")

    monkeypatch.setattr(remote.files, "upload", refuse)
    ticket = ticket_of(remote)
    with remote.stages.staging(ticket) as folder:
        remote.stages.upload_begins(ticket, folder)
        with pytest.raises(StoreError, match="full"):
            remote.stages.commit(ticket, SPEC, {"value": 1}, folder)
    assert not remote.stages.done(KEY)


def test_an_upload_of_an_attempt_that_fails_is_ended_and_nothing_is_left(
    remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked(remote, monkeypatch)
    ticket = ticket_of(remote)
    with suppress(RuntimeError), remote.stages.staging(ticket) as folder:
        (folder / "model.safetensors").write_text("weights")
        remote.stages.upload_begins(ticket, folder)
        raise RuntimeError
    assert sent(remote) == []
    assert not [each for each in threading.enumerate() if each.name == "upload"]


def test_what_was_sent_is_gone_where_the_stage_was_lost_meanwhile(remote: Store) -> None:
    ticket = ticket_of(remote)
    with remote.stages.staging(ticket) as folder:
        (folder / "model.safetensors").write_text("weights")
        remote.stages.upload_begins(ticket, folder)
        remote.claims.release(ticket)
        ticket_of(remote, owner="heir")
        with pytest.raises(ClaimLostError):
            remote.stages.commit(ticket, SPEC, {"value": 1}, folder)
    assert sent(remote) == []
    assert not remote.stages.done(KEY)


def test_what_was_sent_stays_where_something_fails_after_the_commit(remote: Store) -> None:
    ticket = ticket_of(remote)
    with suppress(RuntimeError), remote.stages.staging(ticket) as folder:
        (folder / "model.safetensors").write_text("weights")
        remote.stages.upload_begins(ticket, folder)
        remote.stages.commit(ticket, SPEC, {"value": 1}, folder)
        raise RuntimeError
    assert sent(remote) == ["model.safetensors"]
    with remote.stages.local_files(KEY) as files:
        assert (files / "model.safetensors").read_text() == "weights"
