"""Drivers that make a cell's stages by chains, one after another's death; knows no scheduler."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from orchestrator.execution.chain import run_chain
from orchestrator.execution.stage_task import StageTask
from orchestrator.scheduler.stage_store import AlreadySatisfied, Claimed, StageStore
from orchestrator.stages.next_stages import Done, first_needed_stage
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.failures import Failure
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store
from tests.orchestrator.execution.chains import Cell

IsAlive = Callable[[str], bool]


class ChainDriver:
    """A driver of one cell on a store; all others are dead to it."""

    def __init__(self, cell: Cell, uri: str, kinds: tuple[StageKind, ...]) -> None:
        self._specs = [cell[kind] for kind in kinds]
        self._store = Store(uri)
        self._store.claims.drivers.is_alive = lambda *_: False  # type: ignore[method-assign]

    def drive(self) -> None:
        """Make all of the cell's stages, those that are not there yet."""
        while True:
            results = StoreResults(self._store)
            needed = first_needed_stage(self._specs, results)
            if isinstance(needed, Done):
                return
            self._step(needed, results)

    def _step(self, head: StageSpec, results: StoreResults) -> None:
        """Claim a stage and those after it, run them as a chain, and give them back."""
        stages = StageStore(
            self._store, results, keep_transfer_weights=False, readers=self._readers
        )
        with ExitStack() as held:
            tasks: list[StageTask] = []
            for spec in self._specs[self._specs.index(head) :]:
                claimed = stages.claim(spec)
                if isinstance(claimed, AlreadySatisfied):
                    break
                assert isinstance(claimed, Claimed), claimed
                held.callback(partial(stages.holdings.release, spec.key))
                ticket = claimed.ticket
                tasks.append(
                    StageTask(
                        spec,
                        self._store.uri,
                        attempt=ticket.attempt,
                        claim=ticket.number,
                        snapshot_every_steps=1,
                    )
                )
            if tasks:
                check(run_chain(replace(tasks[0], then=tuple(tasks[1:]))))

    def _readers(self, key: str) -> list[str]:
        return [spec.key for spec in self._specs if key in spec.reads]


def check(outcomes: dict[str, Failure | None] | object) -> None:
    """No stage of a chain has failed."""
    assert isinstance(outcomes, dict)
    failures = [failure.details for failure in outcomes.values() if failure is not None]
    assert not failures, failures[0]


def commits(store: Store, spec: StageSpec) -> list[str]:
    """The entries of a stage's log that say what was committed, as they stand in their files."""
    entries = sorted(Path(store.stages.uri(spec.key), "claims").glob("*.json"))
    texts = [entry.read_text() for entry in entries]
    return [text for text in texts if json.loads(text)["kind"] == "commit"]


def orphans(store: Store, specs: list[StageSpec]) -> list[str]:
    """What the stages have left besides what they are to leave, and what was printed."""
    found = []
    for spec in specs:
        stored = store.stages.stored(spec.key) or {}
        wanted = {"claims", "spec.json", "result.json", "ranks", "logs", stored.get("files")}
        found += [f"{spec.kind}/{name}" for name in store.stages.contents(spec.key) - wanted]
    return found
