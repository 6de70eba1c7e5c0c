"""Artifacts of an object store come once to a node, and not at all where they were made there."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.coordination.stage_log import ClaimLostError
from orchestrator.store.files import StoreFiles
from orchestrator.store.store import Store
from tests.orchestrator.store.sample_stage import KEY, SPEC, commit, ticket_of
from trsp.errors import InvalidInputError, StoreError


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were downloaded so far, of whatever store."""
    seen: list[str] = []
    download = StoreFiles.download

    def noted(self: StoreFiles, path: str, local: Path, files: Mapping[str, int]) -> None:
        seen.extend(sorted(files))
        download(self, path, local, files)

    monkeypatch.setattr(StoreFiles, "download", noted)
    return seen


def weights(store: Store) -> str:
    with store.stages.local_files(KEY) as folder:
        return (folder / "model.safetensors").read_text()


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Go to another node, which has a cache of its own."""
    monkeypatch.setenv("TRSP_CACHE_DIR", str(tmp_path / "another node"))


def test_what_was_made_on_a_node_is_not_downloaded_there(
    remote: Store, downloads: list[str]
) -> None:
    commit(remote)
    assert weights(Store(remote.uri)) == "weights"
    assert downloads == []


def test_another_node_downloads_it_once_and_without_the_card(
    remote: Store, downloads: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commit(remote)
    remote.stages.write_file(KEY, "README.md", b"a card")
    elsewhere(monkeypatch, tmp_path)
    assert [weights(Store(remote.uri)) for _ in range(2)] == ["weights", "weights"]
    assert downloads == ["inside/config.json", "model.safetensors"]


def test_what_was_made_again_is_another_entry(remote: Store, downloads: list[str]) -> None:
    commit(remote)
    remote.stages.drop_files(KEY)
    commit(remote, "again")
    assert weights(remote) == "again"
    assert downloads == []


def test_what_was_dropped_takes_no_room_on_the_node(remote: Store, cache_folder: Path) -> None:
    commit(remote)
    assert [path for path in cache_folder.rglob("*") if path.is_file()]
    remote.stages.drop_files(KEY)
    assert not [path for path in cache_folder.rglob("*") if path.is_file()]


def test_the_same_address_on_another_server_is_another_store(
    remote: Store, downloads: list[str]
) -> None:
    commit(remote)
    other = re.sub(r"127\.0\.0\.1", "localhost", remote.uri)
    assert weights(Store(other)) == "weights"
    assert downloads == ["inside/config.json", "model.safetensors"]


def test_without_a_cache_each_reader_downloads_and_nothing_stays(
    remote: Store, downloads: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRSP_CACHE_BYTES", "0")
    monkeypatch.setenv("TRSP_TMPDIR", str(tmp_path))
    commit(remote)
    assert [weights(Store(remote.uri)) for _ in range(2)] == ["weights", "weights"]
    assert len(downloads) == 4
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_limit_that_is_none_is_told_before_anything_is_done(
    remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRSP_CACHE_BYTES", "much")
    with pytest.raises(InvalidInputError, match="give one such as 200e9"):
        Store(remote.uri)


def test_a_local_store_needs_no_cache(local: Store, cache_folder: Path) -> None:
    commit(local)
    assert weights(local) == "weights"
    assert not cache_folder.exists()


def test_a_folder_that_could_not_be_sent_leaves_nothing_on_the_node(
    remote: Store, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("the bucket is full")

    monkeypatch.setattr(remote.files, "upload", refuse)
    with pytest.raises(StoreError, match="full"):
        commit(remote)
    assert not [path for path in cache_folder.rglob("*") if path.is_file()]


def test_what_a_stage_had_sent_that_it_lost_is_gone_everywhere(
    remote: Store, cache_folder: Path
) -> None:
    ticket = ticket_of(remote)
    with remote.stages.staging(ticket) as folder:
        (folder / "model.safetensors").write_text("weights")
        prepared = remote.stages.prepare(ticket, SPEC, {"value": 1}, folder)
        remote.claims.release(ticket)
        ticket_of(remote, owner="heir")
        with pytest.raises(ClaimLostError):
            remote.stages.commit_prepared(prepared)
    assert not [name for name in remote.stages.contents(KEY) if name.startswith("files-")]
    assert not [path for path in cache_folder.rglob("*") if path.is_file()]


def test_what_is_committed_stays_where_something_fails_afterwards(
    remote: Store, downloads: list[str]
) -> None:
    ticket = ticket_of(remote)
    with suppress(RuntimeError), remote.stages.staging(ticket) as folder:
        (folder / "model.safetensors").write_text("weights")
        remote.stages.commit(ticket, SPEC, {"value": 1}, folder)
        raise RuntimeError
    assert weights(remote) == "weights"
    assert downloads == []
