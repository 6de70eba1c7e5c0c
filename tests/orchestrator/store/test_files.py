"""Whole files in a store, and the addresses that a store may have."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.store import patience
from orchestrator.store.files import StoreFiles, UnreadableRecordError
from orchestrator.store.store import Store
from tests.orchestrator.store.sample_stage import KEY, commit, files_uri, ticket_of
from trsp.errors import StoreError


def test_no_temporary_file_is_left_behind(local: Store) -> None:
    commit(local)
    local.files.check_writable()
    local.claims.release(ticket_of(local))
    hidden = [path for path in Path(local.uri).rglob("*") if path.name.startswith(".")]
    assert hidden == []


def test_a_writable_store_passes(store: Store) -> None:
    store.files.check_writable()


def test_a_file_is_created_once(store: Store) -> None:
    assert store.files.create("a/1.json", b"first")
    assert not store.files.create("a/1.json", b"second")
    assert store.files.read("a/1.json") == b"first"
    assert store.files.names("a") == ["1.json"]


def test_a_store_that_ignores_the_condition_of_a_write_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some copies of S3 do."""

    def ignore(path: str, data: bytes) -> bool:
        store.files.write(path, data)
        return True

    monkeypatch.setattr(store.files, "create", ignore)
    with pytest.raises(StoreError, match=r"create the same file: give a folder, or an object"):
        store.files.check_writable()


def test_an_object_store_that_does_not_answer_is_an_error_as_of_pyarrow(
    s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "WAITS_S", ())
    options = f"endpoint_override={s3_server}&scheme=http&region=us-east-1"
    with pytest.raises(FileNotFoundError):
        Store(f"s3://no-such-bucket/x?{options}").files.create("a.json", b"x")


def test_a_folder_that_is_made_while_it_is_listed_is_empty(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pyarrow says where it came between its two looks."""

    def raced(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "Cannot list directory")

    monkeypatch.setattr(local.files, "_fs", SimpleNamespace(get_file_info=raced))
    assert local.files.names("stages") == []


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"cannot be written.*storage\.store"):
        Store(str(tmp_path / "file" / "store")).files.check_writable()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_json_does_not_know_is_not_written(local: Store, number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        local.files.write_json("a/b.json", {"scores": [number]})
    assert local.files.read("a/b.json") is None


def test_a_document_of_another_shape_is_as_good_as_none(local: Store) -> None:
    for content in (b"[]", b"3", b"{"):
        local.files.write("grids/grid-1.json", content)
        assert local.grids.load("grid-1") == {}


def test_an_address_for_people_has_no_options(s3_server: str) -> None:
    uri = f"s3://key:secret@bucket/x?endpoint_override={s3_server}&scheme=http"
    assert Store(uri).files.shown("a.json") == "s3://bucket/x/a.json"


def test_a_bucket_that_is_not_there_says_so(
    s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "WAITS_S", ())
    with pytest.raises(StoreError, match=r"cannot be written.*storage\.store"):
        Store(
            f"s3://no-such-bucket/x?endpoint_override={s3_server}&scheme=http"
        ).files.check_writable()


@pytest.mark.parametrize("uri", ["nowhere://bucket/x", "s3://", "/"])
def test_an_address_that_means_nothing_says_so(uri: str) -> None:
    with pytest.raises(StoreError, match="s3://bucket/prefix"):
        Store(uri)


def test_a_file_uri_and_its_path_are_one_store(local: Store) -> None:
    commit(local)
    assert files_uri(Store(Path(local.uri).as_uri())) == files_uri(local)


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/store").stages.uri(KEY).startswith(str(tmp_path))


def test_facts_of_a_grid_come_back(store: Store) -> None:
    store.grids.save("grid-1", {"hardware": "cpu"})
    assert store.grids.load("grid-1") == {"hardware": "cpu"}


def test_what_was_learned_of_memory_is_kept(store: Store) -> None:
    assert store.layouts.load("transfer-1") == {}
    store.layouts.save("transfer-1", {"ranks": 2})
    store.layouts.save("transfer-1", {"ranks": 4})
    assert store.layouts.load("transfer-1") == {"ranks": 4}


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.ESTALE])
def test_a_machine_in_trouble_is_no_reason_to_have_a_file_deleted(
    local: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A driver without a free file descriptor once told people to delete its results."""
    commit(local)

    def trouble(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(StoreFiles, "read", trouble)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        local.stages.done(KEY)
    assert not isinstance(caught.value, UnreadableRecordError)
