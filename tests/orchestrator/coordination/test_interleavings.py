"""Several writers of one stage whose steps are interleaved at every call of the store.

Each takes all the others for dead whenever it likes, as clocks, pauses and networks make it so.
Whatever the order of their steps, one commit wins, and the result is whole at every moment.
"""

import json
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pytest

from orchestrator.coordination.stage_log import ClaimLostError, Ticket
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.claims import Claims
from orchestrator.store.files import StoreFiles
from orchestrator.store.rankings import Rankings
from orchestrator.store.stage_results import StageResults
from tests.orchestrator.coordination.memory_files import MemoryFiles
from trsp.records import RoundRecord

SPEC = StageSpec(StageKind.PRUNE, {"layers": [1]})
RANKING = StageSpec(StageKind.RANKING, {"selector": "gates"}, depth=4)
STAGE = f"stages/prune/{SPEC.key}"
DEPTH = 4


class Killed(BaseException):
    """A process that is killed: it does nothing more, not even clean up."""


class Turns:
    """Lets one of several threads do one thing at a time, in an order drawn by chance."""

    def __init__(self, seed: int, check: Callable[[], None]) -> None:
        self.random = random.Random(seed)
        self._check = check
        self._go: dict[str, threading.Semaphore] = {}
        self._waits = threading.Semaphore(0)
        self.killed: set[str] = set()

    def wait(self, name: str) -> None:
        """Wait for this thread's turn. Raises Killed when it is killed."""
        self._waits.release()
        self._go[name].acquire()
        if name in self.killed:
            raise Killed

    def run(self, writers: dict[str, Callable[[], None]], deaths: int) -> None:
        """Run all writers to their ends, of which up to so many are killed on the way."""
        threads = {}
        for name, work in writers.items():
            self._go[name] = threading.Semaphore(0)
            threads[name] = threading.Thread(target=self._live, args=(name, work))
            threads[name].start()
            self._waits.acquire()
        while living := [name for name, thread in threads.items() if name in self._go]:
            name = self.random.choice(living)
            if len(self.killed) < deaths and self.random.random() < 0.03:
                self.killed.add(name)
            self._go[name].release()
            self._waits.acquire()
            self._check()
        for thread in threads.values():
            thread.join()

    def _live(self, name: str, work: Callable[[], None]) -> None:
        try:
            with suppress(Killed):
                self.wait(name)
                work()
        finally:  # also after an error, which pytest tells of, so that nobody waits for it
            del self._go[name]
            self._waits.release()


class SharedFiles(MemoryFiles):
    """What one writer sees of the files that all share."""

    def __init__(self, content: dict[str, bytes], turns: Turns, name: str) -> None:
        super().__init__(content)
        self._turns, self._name = turns, name

    def turn(self) -> None:
        self._turns.wait(self._name)


class Writer:
    """A driver and its attempts: it tries until the stage is done."""

    def __init__(self, content: dict[str, bytes], turns: Turns, name: str) -> None:
        self._name, self._random = name, turns.random
        files = cast(StoreFiles, SharedFiles(content, turns, name))
        self.claims = Claims(files)
        self.stages = StageResults(files, self.claims.log)
        self.rankings = Rankings(files, self.claims.log)
        self.claims.drivers.is_alive = self._is_alive  # type: ignore[method-assign]
        self.attempts = 0

    def _is_alive(self, *_: object) -> bool:
        return self._random.random() < 0.5

    def make_result(self) -> None:
        while not self.stages.done(SPEC.key):
            ticket = self._take(SPEC.key)
            if isinstance(ticket, Ticket):
                with suppress(ClaimLostError):
                    self._attempt(ticket)
                self.claims.release(ticket)

    def _take(self, key: str) -> Any:
        self.attempts += 1
        return self.claims.take(key, self._name, f"{self._name}{self.attempts}")

    def _attempt(self, ticket: Ticket) -> None:
        if self.stages.done(SPEC.key):
            return
        self.stages.remove_orphans(SPEC.key)
        with self.stages.staging(ticket) as folder:
            for number in range(2):
                (folder / f"{number}").write_text(ticket.attempt)
            self.stages.commit(ticket, SPEC, {"by": ticket.attempt}, folder)

    def make_rounds(self) -> None:
        while len(self.rankings.rounds(RANKING.key)) < DEPTH:
            ticket = self._take(RANKING.key)
            if isinstance(ticket, Ticket):
                with suppress(ClaimLostError):
                    self._publish(ticket)
                self.claims.release(ticket)

    def _publish(self, ticket: Ticket) -> None:
        """Publish rounds each of which holds all layers before it, and one of this writer's own."""
        rounds = list(self.rankings.rounds(RANKING.key))
        while len(rounds) < DEPTH:
            before = rounds[-1].scores if rounds else {}
            layer = 100 * len(rounds) + self._random.randrange(100)
            scores = {**before, layer: 0.5}
            rounds.append(RoundRecord(round=len(rounds), layer=layer, scores=scores))
            self.rankings.publish(ticket, rounds[-1])


def check_whole(content: dict[str, bytes]) -> None:
    """A result that is there is whole, and so are the files that it names."""
    data = content.get(f"{STAGE}/result.json")
    if data is None:
        return
    result = json.loads(data)
    files = {name: content.get(f"{STAGE}/{result['files']}/{name}") for name in ("0", "1")}
    assert set(files.values()) == {result["record"]["by"].encode()}


def entries(content: dict[str, bytes]) -> list[dict[str, Any]]:
    return [json.loads(content[path]) for path in sorted(content) if "/claims/" in path]


@pytest.mark.parametrize("seed", range(60))
def test_one_commit_wins_and_the_result_is_always_whole(seed: int) -> None:
    content: dict[str, bytes] = {}
    turns = Turns(seed, lambda: check_whole(content))
    names = ["a", "b", "c"][: 2 + seed % 2]
    writers = {name: Writer(content, turns, name).make_result for name in names}
    turns.run(writers, deaths=len(names) - 1)
    commits = [entry for entry in entries(content) if entry["kind"] == "commit"]
    assert len(commits) == 1
    result = json.loads(content[f"{STAGE}/result.json"])
    assert result["record"] == commits[0]["result"]["record"]


@pytest.mark.parametrize("seed", range(30))
def test_rounds_of_several_writers_follow_from_each_other(seed: int) -> None:
    content: dict[str, bytes] = {}
    turns = Turns(seed, lambda: None)
    writers = {name: Writer(content, turns, name).make_rounds for name in ("a", "b", "c")}
    turns.run(writers, deaths=2)
    stored = [json.loads(content[path]) for path in sorted(content) if "/rounds/" in path]
    layers = [record["layer"] for record in stored]
    for number, record in enumerate(stored):
        assert sorted(map(int, record["scores"])) == sorted(layers[: number + 1])


def test_the_check_sees_a_result_without_its_files() -> None:
    content = {f"{STAGE}/result.json": b'{"files": "files-a", "record": {"by": "a"}}'}
    with pytest.raises(AssertionError):
        check_whole(content)
