"""The store, on a local folder (with blanks in its path) and on a real S3 API: whole or not at all, and who works on what."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
from pyarrow import fs as pafs

from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.claims import CLAIM_LIFETIME_S, Claim
from orchestrator.store.failures import Failure, FailureKind, RankFailure
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from trsp.errors import StoreError
from trsp.records import RoundRecord

SPEC = StageSpec(
    StageKind.PRUNE, {"layers": [1, 2]}, locations={"model": "/secret/place"}, reads=("transfer-1",)
)
KEY = SPEC.key
RANK = StageSpec(StageKind.RANKING, {"selector": "gates"}).key
NOW = time.time()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Host and port of an S3 API that keeps everything in memory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    credentials = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with pytest.MonkeyPatch.context() as environment:
        for name, value in (credentials | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
            environment.setenv(name, value)
        try:
            _wait_for(f"http://127.0.0.1:{port}/moto-api/")
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=10)


def _wait_for(url: str, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(str(tmp_path / "a store"))
    address = request.getfixturevalue("s3_server")
    options = f"endpoint_override={address}&scheme=http&allow_bucket_creation=true"
    bucket = f"bucket-{os.urandom(6).hex()}"
    pafs.FileSystem.from_uri(f"s3://{bucket}/?{options}")[0].create_dir(bucket)
    return Store(f"s3://{bucket}/a/prefix?{options}")


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "a store"))


def commit(store: Store, text: str = "weights") -> None:
    with store.stages.staging(KEY) as folder:
        (folder / "model.safetensors").write_text(text)
        (folder / "inside").mkdir()
        (folder / "inside" / "config.json").write_text("{}")
        store.stages.commit(SPEC, {"params": 3, "seconds": 1.5}, folder)


def stage_folder(store: Store, key: str = KEY) -> Path:
    return Path(store.stages.uri(key))


def files_folders(store: Store) -> list[Path]:
    return sorted(stage_folder(store).glob("files-*"))


# --- results ------------------------------------------------------------------------------------------------------------


def test_an_empty_store_knows_nothing(store: Store) -> None:
    assert not store.stages.done(KEY)
    assert store.stages.result(KEY) is None
    assert store.stages.files_uri(KEY) is None
    assert store.rankings.rounds(RANK) == ()
    assert store.failures.history(KEY) == ()
    assert store.claims.holder(KEY) is None
    assert store.grids.load("grid-1") == {}
    with pytest.raises(StoreError, match="no files"), store.stages.local_files(KEY):
        pass


def test_a_committed_result_and_its_files_come_back(store: Store) -> None:
    commit(store)
    assert store.stages.done(KEY)
    assert store.stages.result(KEY) == {"params": 3, "seconds": 1.5}
    with store.stages.local_files(KEY) as folder:
        assert (folder / "model.safetensors").read_text() == "weights"
        assert (folder / "inside" / "config.json").read_text() == "{}"


def test_the_address_of_files_is_one_that_others_can_open(store: Store) -> None:
    commit(store)
    address = store.stages.files_uri(KEY)
    assert address is not None
    filesystem, path = (
        pafs.FileSystem.from_uri(address) if "://" in address else (pafs.LocalFileSystem(), address)
    )
    with filesystem.open_input_stream(f"{path}/model.safetensors") as stream:
        assert stream.read() == b"weights"


def test_a_second_store_on_the_same_place_sees_the_same(store: Store) -> None:
    commit(store)
    assert Store(store.uri).stages.result(KEY) == store.stages.result(KEY)
    assert Store(store.uri + "/").stages.files_uri(KEY) == store.stages.files_uri(KEY)


def test_a_result_without_files(store: Store) -> None:
    store.stages.commit(SPEC, {"value": 1})
    assert store.stages.done(KEY)
    assert store.stages.files_uri(KEY) is None
    store.stages.write_file(KEY, "README.md", b"nowhere to put it")
    store.stages.drop_files(KEY)
    assert store.stages.done(KEY)  # there was nothing to drop


def test_a_small_file_is_added_and_replaced(store: Store) -> None:
    commit(store)
    for text in ("one", "two"):
        store.stages.write_file(KEY, "README.md", text.encode())
    with store.stages.local_files(KEY) as folder:
        assert (folder / "README.md").read_text() == "two"
        assert (folder / "model.safetensors").exists()


def test_dropped_files_leave_the_record_but_are_not_done(store: Store) -> None:
    commit(store)
    store.stages.drop_files(KEY)
    assert not store.stages.done(KEY)
    assert store.stages.result(KEY) == {"params": 3, "seconds": 1.5}
    assert store.stages.files_uri(KEY) is None
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


def test_facts_of_a_grid_come_back(store: Store) -> None:
    store.grids.save("grid-1", {"hardware": "cpu"})
    assert store.grids.load("grid-1") == {"hardware": "cpu"}


# --- whole or not at all ------------------------------------------------------------------------------------------------


def test_an_attempt_that_fails_leaves_no_result_and_no_files(store: Store) -> None:
    with suppress(RuntimeError), store.stages.staging(KEY) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert not store.stages.done(KEY)
    assert not folder.exists()


def test_a_driver_killed_while_staging_leaves_an_orphan_that_the_next_one_removes(
    local: Store,
) -> None:
    code = f"""
import os, sys
from orchestrator.store.store import Store
with Store({local.uri!r}).stages.staging({KEY!r}) as folder:
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


def test_no_temporary_file_is_left_behind(local: Store) -> None:
    commit(local)
    local.files.check_writable()
    local.claims.take(KEY, "me")
    local.claims.release(KEY)
    hidden = [path for path in Path(local.uri).rglob("*") if path.name.startswith(".")]
    assert hidden == []


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


# --- rankings -----------------------------------------------------------------------------------------------------------


def published(store: Store, *numbers: int) -> None:
    for number in numbers:
        store.rankings.publish(
            RANK,
            RoundRecord(round=number, layer=9 - number, scores={0: 0.5, 1: 0.25}, lm_loss=(2.5,)),
        )


def test_rounds_come_back_in_order_from_where_they_are_asked_for(store: Store) -> None:
    published(store, 0, 1, 2)
    assert [record.layer for record in store.rankings.rounds(RANK)] == [9, 8, 7]
    assert [record.round for record in store.rankings.rounds(RANK, start=2)] == [2]
    assert store.rankings.rounds(RANK, start=3) == ()
    assert store.rankings.rounds(RANK)[0] == RoundRecord(
        round=0, layer=9, scores={0: 0.5, 1: 0.25}, lm_loss=(2.5,)
    )
    assert not store.stages.done(RANK)  # a ranking is never finished, only deep enough


def test_rounds_end_at_the_first_gap_or_torn_file(local: Store) -> None:
    published(local, 0, 1, 3)
    assert len(local.rankings.rounds(RANK)) == 2
    published(local, 2)
    (stage_folder(local, RANK) / "rounds" / "001.json").write_text('{"round": 1, "la')
    assert len(local.rankings.rounds(RANK)) == 1


# --- failures -----------------------------------------------------------------------------------------------------------


def test_failures_are_kept_oldest_first_with_their_logs(store: Store) -> None:
    said = (RankFailure((1,), "MemoryError", "12 GB", "its last words", FailureKind.OUT_OF_MEMORY),)
    first = Failure(
        "MemoryError", "12 GB", FailureKind.OUT_OF_MEMORY, "Traceback", NOW, said, {"ranks": 2}
    )
    store.failures.record(KEY, first, "the end of the log")
    store.failures.record(KEY, Failure("InvalidInputError", "no such file"))
    assert store.failures.history(KEY) == (first, Failure("InvalidInputError", "no such file"))
    if store.is_local:
        log, _ = sorted(stage_folder(store).glob("log-*.txt"))
        assert log.read_text() == (
            "out of memory: MemoryError: 12 GB (rank 1)\nlayout: ranks=2\n"
            "--- rank 1: MemoryError: 12 GB\nits last words\n\nthe end of the log"
        )


def test_what_was_learned_of_memory_is_kept(store: Store) -> None:
    assert store.layouts.load("transfer-1") == {}
    store.layouts.save("transfer-1", {"ranks": 2})
    store.layouts.save("transfer-1", {"ranks": 4})
    assert store.layouts.load("transfer-1") == {"ranks": 4}


# --- claims -------------------------------------------------------------------------------------------------------------


def write_claim(store: Store, claim: Claim) -> None:
    folder = stage_folder(store)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "claim.json").write_text(json.dumps(asdict(claim)))


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_claim_is_one_drivers_until_it_is_released(store: Store) -> None:
    assert store.claims.take(KEY, "me") is None
    other = store.claims.take(KEY, "you")
    assert other is not None
    assert (other.owner, other.pid) == ("me", os.getpid())
    assert store.claims.take(KEY, "me") is None
    store.claims.renew(KEY, "me")
    store.claims.release(KEY)
    store.claims.release(KEY)
    assert store.claims.take(KEY, "you") is None


def test_a_dead_drivers_claim_is_taken_over_at_once(local: Store) -> None:
    write_claim(local, Claim("dead", socket.gethostname(), dead_pid(), NOW, process_start="1"))
    assert local.claims.take(KEY, "me") is None
    assert local.claims.holder(KEY).owner == "me"  # type: ignore[union-attr]


def test_a_later_process_with_the_same_pid_is_not_the_claims_owner(local: Store) -> None:
    write_claim(local, Claim("dead", socket.gethostname(), os.getpid(), NOW, process_start="1"))
    assert local.claims.take(KEY, "me") is None


def test_a_living_process_of_this_machine_keeps_its_claim_however_long_a_step_takes(
    local: Store,
) -> None:
    mine = Claim.mine("busy")
    assert mine.alive(NOW + 10 * CLAIM_LIFETIME_S)


def test_a_remote_claim_lives_as_long_as_it_is_renewed(local: Store) -> None:
    now = time.time()
    remote = Claim("far", "another-host", 1, now)
    assert remote.alive(now + CLAIM_LIFETIME_S / 2)
    assert not remote.alive(now + 2 * CLAIM_LIFETIME_S)
    write_claim(local, remote)
    assert local.claims.take(KEY, "me") == remote
    write_claim(local, Claim("far", "another-host", 1, now - 2 * CLAIM_LIFETIME_S))
    assert local.claims.take(KEY, "me") is None


@pytest.mark.parametrize("content", ["", "{"])
def test_an_unreadable_claim_is_nobodys(local: Store, content: str) -> None:
    write_claim(local, Claim.mine("x"))
    (stage_folder(local) / "claim.json").write_text(content)
    assert local.claims.take(KEY, "me") is None
    assert local.claims.holder(KEY).owner == "me"  # type: ignore[union-attr]


def _race(uri: str, keys: list[str], owner: str, barrier: object, won: object) -> None:
    store = Store(uri)
    for key in keys:
        barrier.wait()  # type: ignore[attr-defined]
        if store.claims.take(key, owner) is None:
            won.put((key, owner))  # type: ignore[attr-defined]
    barrier.wait()  # type: ignore[attr-defined]  # a winner must live until the last one has looked


@pytest.mark.parametrize("stale", [False, True], ids=["free", "stale"])
def test_of_two_processes_exactly_one_gets_a_claim(local: Store, stale: bool) -> None:
    """Also where both find the same dead driver's claim."""
    keys = [f"prune-{i:03d}" for i in range(100)]
    if stale:
        for key in keys:
            stage_folder(local, key).mkdir(parents=True)
            old = Claim("dead", "another-host", 1, NOW - 2 * CLAIM_LIFETIME_S)
            (stage_folder(local, key) / "claim.json").write_text(json.dumps(asdict(old)))
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(2), context.SimpleQueue()
    racers = [
        context.Process(target=_race, args=(local.uri, keys, owner, barrier, won))
        for owner in ("a", "b")
    ]
    for racer in racers:
        racer.start()
    wins = []
    for racer in racers:
        racer.join(timeout=60)
        assert racer.exitcode == 0
    while not won.empty():
        wins.append(won.get())
    assert sorted(key for key, _ in wins) == keys
    assert {local.claims.holder(key).owner for key, owner in wins} == {owner for _, owner in wins}  # type: ignore[union-attr]


# --- addresses ----------------------------------------------------------------------------------------------------------


def test_a_writable_store_passes(store: Store) -> None:
    store.files.check_writable()


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"cannot be written.*storage\.store"):
        Store(str(tmp_path / "file" / "store")).files.check_writable()


def test_a_bucket_that_is_not_there_says_so(s3_server: str) -> None:
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
    assert Store(Path(local.uri).as_uri()).stages.files_uri(KEY) == local.stages.files_uri(KEY)


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/store").stages.uri(KEY).startswith(str(tmp_path))


# --- snapshots --------------------------------------------------------------------------------------------------------


def test_snapshots_are_streamed_to_the_store_and_gone_when_the_stage_is_done(store: Store) -> None:
    for step in (3, 6):
        with StoreSnapshots(store, KEY, "a").create(step, "rank-0") as stream:
            stream.write(b"0123456789")
        StoreSnapshots(store, KEY, "a").commit(step, {"rank-0": 10}, {"loss": 0.5})
    found = StoreSnapshots(store, KEY).latest()
    assert found is not None
    assert (found.step, found.state) == (6, {"loss": 0.5})
    with StoreSnapshots(store, KEY).open(found, "rank-0") as stream:
        stream.seek(7)
        buffer = bytearray(3)
        assert (stream.readinto(buffer), buffer) == (3, b"789")
    store.stages.commit(SPEC, {})
    assert StoreSnapshots(store, KEY).latest() is None
