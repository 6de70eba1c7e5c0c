"""A store that is away for a moment, at every driver and stage that reads or writes it."""

import errno
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.store import files, patience
from orchestrator.store.diagnosis import classify
from orchestrator.store.failures import FailureKind
from orchestrator.store.store import Store
from trsp.errors import StoreError, UnreachableError


@pytest.fixture(autouse=True)
def without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "WAITS_S", (0.0, 0.0))


def failing(times: int, error: OSError, work: Callable[..., Any]) -> Callable[..., Any]:
    """``work``, which fails so many times before it works."""
    errors: Iterator[OSError] = iter([error] * times)

    def run(*args: object) -> Any:
        for each in errors:
            raise each
        return work(*args)

    return run


@pytest.mark.parametrize("name", ["read_file", "write_file"])
def test_an_outage_of_a_second_is_waited_out(
    local: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    stale = OSError(errno.ESTALE, "Stale file handle")
    monkeypatch.setattr(files, name, failing(2, stale, getattr(files, name)))
    local.files.write("a", b"trsp")
    assert local.files.read("a") == b"trsp"


def test_an_outage_that_lasts_is_the_error_that_it_was(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = OSError(errno.ESTALE, "Stale file handle")
    monkeypatch.setattr(files, "read_file", failing(3, stale, files.read_file))
    with pytest.raises(OSError, match="Stale file handle"):
        local.files.read("a")


def test_a_stages_own_process_waits_for_minutes(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", waited.append)
    stale = OSError(errno.ESTALE, "Stale file handle")
    monkeypatch.setattr(files, "write_file", failing(10, stale, files.write_file))
    with patience.stage_patience():
        local.files.write("a", b"trsp")
    assert local.files.read("a") == b"trsp"
    assert 200 < sum(waited) < 400
    monkeypatch.setattr(files, "write_file", failing(3, stale, files.write_file))
    with pytest.raises(OSError, match="Stale"):  # nobody else does
        local.files.write("a", b"trsp")


@pytest.mark.parametrize(
    "answer", [PermissionError(errno.EACCES, "not yours"), OSError(errno.ENOSPC, "full")]
)
def test_what_the_store_answers_is_not_asked_again(
    local: Store, monkeypatch: pytest.MonkeyPatch, answer: OSError
) -> None:
    monkeypatch.setattr(files, "write_file", failing(1, answer, files.write_file))
    with pytest.raises(type(answer)):
        local.files.write("a", b"trsp")


def test_an_object_store_that_is_away_when_a_stage_opens_it_is_no_bad_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a region in its address, opening a bucket asks for it."""

    def away(*_: object) -> None:
        raise OSError("AWS Error NETWORK_CONNECTION during HeadBucket operation")

    monkeypatch.setattr(files, "pafs", SimpleNamespace(FileSystem=SimpleNamespace(from_uri=away)))
    with pytest.raises(UnreachableError) as caught:
        Store("s3://bucket/x")
    assert classify(caught.value) is FailureKind.UNREACHABLE


def test_an_address_that_names_no_store_is_bad_input() -> None:
    with pytest.raises(StoreError) as caught:
        Store("nowhere://bucket/x")
    assert classify(caught.value) is FailureKind.BAD_INPUT


def test_an_attempt_that_took_minutes_is_not_made_again(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyarrow tries a dead S3 for 100 s by itself: three times that is five minutes."""
    now, attempts = [0.0], []

    def read(*_: object) -> None:
        now[0] += 100
        attempts.append(now[0])
        raise OSError(errno.ETIMEDOUT, "Connection timed out")

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: None)
    monkeypatch.setattr(patience, "time", clock)
    monkeypatch.setattr(files, "read_file", read)
    with pytest.raises(OSError, match="timed out"):
        local.files.read("a")
    assert attempts == [100.0]
