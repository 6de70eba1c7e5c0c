"""Two stages that are committed by one entry, the second made of what the first left in memory."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest

from orchestrator.coordination.log_entries import read_entry
from orchestrator.coordination.stage_log import ClaimLostError, Ticket
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.claims import Claims
from orchestrator.store.files import StoreFiles
from orchestrator.store.stage_results import StageResults
from tests.orchestrator.coordination.memory_files import MemoryFiles
from tests.orchestrator.coordination.test_interleavings import Killed, SharedFiles, Turns

FIRST = StageSpec(StageKind.TRANSFER, {"layers": [1]})
READER = StageSpec(StageKind.PRUNE, {"layers": [1]}, reads=(FIRST.key,))
SPECS = (FIRST, READER)
IsAlive = Callable[[str], bool]


def path(spec: StageSpec, name: str = "result.json") -> str:
    return f"stages/{spec.kind}/{spec.key}/{name}"


def nobody_lives(owner: str) -> bool:
    return False


class Driver:
    """A driver that makes both stages in one attempt, until the second one is there."""

    def __init__(self, files: MemoryFiles, name: str, is_alive: IsAlive = nobody_lives) -> None:
        shared = cast(StoreFiles, files)
        self.claims = Claims(shared)
        self.stages = StageResults(shared, self.claims.log)
        self.name, self.attempts, self.trainings = name, 0, 0
        self.claims.drivers.is_alive = lambda owner, _: is_alive(owner)  # type: ignore

    def take(self, spec: StageSpec) -> Any:
        self.attempts += 1
        return self.claims.take(spec.key, self.name, f"{self.name}{self.attempts}")

    def make(self) -> None:
        while not self.stages.done(READER.key):
            first = self.take(FIRST)
            if isinstance(first, Ticket):
                self._with_reader(first)
                self.claims.release(first)

    def _with_reader(self, first: Ticket) -> None:
        if self.stages.done(READER.key):  # the claim has settled it
            return
        reader = self.take(READER)
        if isinstance(reader, Ticket):
            with suppress(ClaimLostError):
                self.commit(first, reader)
            self.claims.release(reader)

    def commit(self, first: Ticket, reader: Ticket) -> None:
        self.trainings += 1
        with self.stages.staging(reader) as folder:
            (folder / "weights").write_text(first.attempt)
            made = self.stages.prepare(reader, READER, {"by": first.attempt}, folder)
            trained = self.stages.prepare(first, FIRST, {"by": first.attempt})
            self.stages.commit_prepared(trained, made)


def check(content: dict[str, bytes]) -> None:
    """The second result is never there without the first, nor another's, nor without files."""
    if (data := content.get(path(READER))) is None:
        return
    reader, first = json.loads(data), json.loads(content[path(FIRST)])
    assert reader["record"] == first["record"]
    assert first["dropped"]
    assert content[path(READER, f"{reader['files']}/weights")].decode() == first["record"]["by"]


def commits(content: dict[str, bytes], spec: StageSpec) -> list[Any]:
    entries = [json.loads(content[name]) for name in content if f"{spec.key}/claims/" in name]
    return [entry for entry in entries if entry["kind"] == "commit"]


def run_three(seed: int, is_alive: Callable[[Turns, str], bool]) -> dict[str, bytes]:
    """Let three drivers make both stages, two of which die; return what is in the store."""
    content: dict[str, bytes] = {}
    turns = Turns(seed, lambda: check(content))
    drivers = [
        Driver(SharedFiles(content, turns, name), name, partial(is_alive, turns)) for name in "abc"
    ]
    turns.run({driver.name: driver.make for driver in drivers}, deaths=2)
    assert content.keys() >= {path(spec) for spec in SPECS}
    return content


@pytest.mark.parametrize("seed", range(40))
def test_both_are_committed_once_whatever_the_order_of_steps(seed: int) -> None:
    content = run_three(seed, lambda turns, owner: owner not in turns.killed)
    assert [len(commits(content, spec)) for spec in SPECS] == [1, 1]


@pytest.mark.parametrize("seed", range(40))
def test_whoever_takes_the_living_for_dead_loses_work_but_never_half_of_a_result(
    seed: int,
) -> None:
    content = run_three(seed, lambda turns, owner: turns.random.random() < 0.5)
    assert len(commits(content, READER)) == 1


class DyingFiles(MemoryFiles):
    """Files of a process that dies before the call of that number."""

    def __init__(self, content: dict[str, bytes], calls: int) -> None:
        super().__init__(content)
        self.left = calls

    def turn(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1


def killed_after(calls: int) -> tuple[dict[str, bytes], bool]:
    """What a driver leaves that dies so late; and whether it had come to its end."""
    content: dict[str, bytes] = {"stages/transfer/" + FIRST.key + "/snapshots/9/x": b"weights"}
    files = DyingFiles(content, calls)
    with suppress(Killed):
        Driver(files, "first").make()
    return content, files.left > 0


def test_whoever_comes_after_a_kill_at_any_call_trains_nothing_that_was_committed() -> None:
    calls, over, settled = 0, False, 0
    while not over:
        content, over = killed_after(calls)
        was_committed = bool(commits(content, FIRST))
        snapshots_left = any("/snapshots/" in name for name in content)
        assert snapshots_left or was_committed, "what was trained by is gone too early"
        heir = Driver(MemoryFiles(content), "heir")
        heir.make()
        assert heir.trainings == (0 if was_committed else 1)
        settled += was_committed and not over
        assert [len(commits(content, spec)) for spec in SPECS] == [1, 1]
        assert not any("/snapshots/" in name for name in content)
        check(content)
        calls += 1
    assert settled > 3, "some of these kills came between the two commits"


def test_a_follower_is_committed_though_its_claim_was_given_back_before_it_was_settled() -> None:
    content: dict[str, bytes] = {}
    files = MemoryFiles(content)
    driver = Driver(files, "one")
    first, reader = driver.take(FIRST), driver.take(READER)
    settle, driver.claims.log.settle = driver.claims.log.settle, lambda *_: None  # type: ignore
    driver.commit(first, reader)  # its process dies here
    driver.claims.log.settle = settle  # type: ignore[method-assign]
    driver.claims.release(reader)
    assert not driver.stages.done(READER.key)
    driver.claims.release(first)
    assert driver.stages.done(READER.key)
    check(content)


def test_a_follower_that_was_removed_by_hand_is_not_made_up_again() -> None:
    content: dict[str, bytes] = {}
    driver = Driver(MemoryFiles(content), "one")
    driver.commit(driver.take(FIRST), driver.take(READER))
    MemoryFiles(content).remove_folder(f"stages/prune/{READER.key}")
    driver.take(FIRST)  # comes upon the commit, after which nobody has released the stage
    assert not driver.stages.done(READER.key)


def test_an_entry_without_a_follower_is_written_as_before() -> None:
    content: dict[str, bytes] = {}
    Driver(MemoryFiles(content), "one").take(FIRST)
    (entry,) = (json.loads(data) for data in content.values())
    assert entry.keys() == {"kind", "attempt", "owner", "process", "result"}


def test_an_entry_is_read_as_far_as_it_is_known() -> None:
    """A driver from before followers takes the commit of both for one of the first."""
    content: dict[str, bytes] = {}
    driver = Driver(MemoryFiles(content), "one")
    driver.commit(driver.take(FIRST), driver.take(READER))
    (data,) = (json.dumps(each).encode() for each in commits(content, FIRST))
    later = data.replace(b'"follower"', b'"what comes later"')
    assert read_entry(later) == replace(read_entry(data), follower=None)


class LateFiles(MemoryFiles):
    """Files in which somebody does something right before the first commit of the follower."""

    act: Callable[[], object] | None = None

    def create(self, path: str, data: bytes) -> bool:
        if self.act is not None and READER.key in path and json.loads(data)["kind"] == "commit":
            act, self.act = self.act, None
            act()
        return super().create(path, data)


def test_a_follower_is_committed_though_its_claim_is_given_back_while_it_is_settled() -> None:
    """The driver stops while the process commits."""
    files = LateFiles()
    driver = Driver(files, "one")
    first, reader = driver.take(FIRST), driver.take(READER)
    files.act = partial(driver.claims.release, reader)
    driver.commit(first, reader)
    assert files.act is None
    assert driver.stages.done(READER.key)
    check(files.content)
