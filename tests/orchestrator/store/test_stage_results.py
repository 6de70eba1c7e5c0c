"""Results of stages in a store, on a local folder and on S3: whole or not at all."""

import json
import subprocess
import sys
from contextlib import suppress

import pytest
from pyarrow import fs as pafs

from orchestrator.store.store import Store
from tests.orchestrator.store.sample_stage import (
    KEY,
    SPEC,
    commit,
    files_folders,
    files_uri,
    stage_folder,
    ticket_of,
    unclaimed,
)


def test_a_committed_result_and_its_files_come_back(store: Store) -> None:
    commit(store)
    assert store.stages.done(KEY)
    assert store.stages.result(KEY) == {"params": 3, "seconds": 1.5}
    with store.stages.local_files(KEY) as folder:
        assert (folder / "model.safetensors").read_text() == "weights"
        assert (folder / "inside" / "config.json").read_text() == "{}"


def test_the_address_of_files_is_one_that_others_can_open(store: Store) -> None:
    commit(store)
    address = files_uri(store)
    assert address is not None
    filesystem, path = (
        pafs.FileSystem.from_uri(address) if "://" in address else (pafs.LocalFileSystem(), address)
    )
    with filesystem.open_input_stream(f"{path}/model.safetensors") as stream:
        assert stream.read() == b"weights"


def test_a_result_without_files(store: Store) -> None:
    store.stages.commit(unclaimed(KEY), SPEC, {"value": 1})
    assert store.stages.done(KEY)
    assert files_uri(store) is None
    store.stages.write_file(KEY, "README.md", b"nowhere to put it")
    store.stages.drop_files(KEY)
    assert store.stages.done(KEY)  # there was nothing to drop


def test_a_small_file_is_added_and_replaced(store: Store) -> None:
    commit(store)
    for text in ("one", "two"):
        store.stages.write_file(KEY, "README.md", text.encode())
    folder = store.stages.folder(KEY, store.stages.stored(KEY)["files"])
    assert folder.read("README.md") == b"two"
    assert folder.read("model.safetensors") == b"weights"


def test_dropped_files_leave_the_record_but_are_not_done(store: Store) -> None:
    commit(store)
    store.stages.drop_files(KEY)
    assert not store.stages.done(KEY)
    assert store.stages.result(KEY) == {"params": 3, "seconds": 1.5}
    assert files_uri(store) is None
    store.stages.drop_files(KEY)
    commit(store, "again")
    assert store.stages.done(KEY)
    with store.stages.local_files(KEY) as folder:
        assert (folder / "model.safetensors").read_text() == "again"


def test_what_was_asked_lies_beside_the_result_without_places(local: Store) -> None:
    commit(local)
    asked = json.loads((stage_folder(local) / "spec.json").read_text())
    assert asked == {
        "key": KEY,
        "kind": "prune",
        "inputs": {"layers": [1, 2]},
        "reads": ["transfer-1"],
    }


def test_an_attempt_that_fails_leaves_no_result_and_no_files(store: Store) -> None:
    with suppress(RuntimeError), store.stages.staging(unclaimed(KEY)) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert not store.stages.done(KEY)
    assert not folder.exists()


def test_a_driver_killed_while_staging_leaves_an_orphan_that_the_next_one_removes(
    local: Store,
) -> None:
    code = f"""
import os, sys
from orchestrator.store.claims import Ticket
from orchestrator.store.store import Store
with Store({local.uri!r}).stages.staging(Ticket({KEY!r}, 0, "a")) as folder:
    (folder / "half").write_text("x")
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert not local.stages.done(KEY)
    assert len(files_folders(local)) == 1
    local.stages.remove_orphans(KEY)
    assert files_folders(local) == []


def test_removing_orphans_spares_what_was_committed(store: Store) -> None:
    commit(store)
    store.stages.remove_orphans(KEY)
    with store.stages.local_files(KEY) as folder:
        assert (folder / "model.safetensors").exists()


@pytest.mark.parametrize("content", ["", "{", '{"record": {"params"', "null"])
def test_an_empty_or_torn_result_is_no_result(local: Store, content: str) -> None:
    commit(local)
    (stage_folder(local) / "result.json").write_text(content)
    assert not local.stages.done(KEY)
    assert local.stages.result(KEY) is None
    local.stages.remove_orphans(KEY)
    assert files_folders(local) == []
    commit(local, "again")
    assert local.stages.done(KEY)


def test_of_results_that_nobody_claims_the_first_stays(store: Store) -> None:
    for value in (1, 2):
        store.items.commit(SPEC, {"value": value}, {})
    assert store.stages.result(KEY) == {"value": 1}
    store.files.write(f"stages/prune/{KEY}/result.json", b'{"rec')
    store.items.commit(SPEC, {"value": 3}, {})
    assert store.stages.result(KEY) == {"value": 3}


def test_files_that_were_dropped_after_a_commit_stay_dropped(store: Store) -> None:
    """Also where the claim was never given back, and the next one comes upon the commit."""
    ticket = ticket_of(store)
    with store.stages.staging(ticket) as folder:
        (folder / "model.safetensors").write_text("weights")
        store.stages.commit(ticket, SPEC, {"value": 1}, folder)
    store.stages.drop_files(KEY)
    ticket_of(store, owner="heir")
    assert not store.stages.done(KEY)
    assert store.stages.result(KEY) == {"value": 1}
