"""Chains whose process is killed at any change of the store: what the next driver does."""

import copy
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.store.copies import artifacts
from orchestrator.store.store import Store
from tests.orchestrator.execution.chain_drivers import ChainDriver, commits, orphans
from tests.orchestrator.execution.chains import KINDS, Cell, cell_of
from tests.orchestrator.faulty_store import CALLS
from trsp.checkpoints import checkpoint
from trsp.evaluation import items
from trsp.records import ItemRecord, Score, TransferRecord

TRANSFER, PRUNE, EVALUATE = KINDS


class Killed(BaseException):
    """The process is dead."""


READS = ("read", "names", "size", "sizes", "open", "download")


class Life:
    """The life of a process, which ends before the change of the store of that number.

    To die before a read is to die before the next change.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None  # changes; None: it lives for ever
        for owner, names in CALLS.items():
            for name in {*names, "create"}:
                work = getattr(owner, name)
                patch.setattr(owner, name, self._mortal(work, changes=name not in READS))
        patch.setattr(artifacts, "shutil", self)

    def _mortal(self, work: Any, *, changes: bool) -> Any:
        @wraps(work)
        def run(*given: Any, **named: Any) -> Any:
            if self.left == 0:
                raise Killed
            if self.left is not None and changes:
                self.left -= 1
            return work(*given, **named)

        return run

    def rmtree(self, *given: Any, **named: Any) -> None:
        """Remove a folder as long as there is life: the dead do not tidy up."""
        if self.left != 0:
            shutil.rmtree(*given, **named)


class SilentHeartbeat:
    """Gives no signs of life: these drivers are dead to each other anyway."""

    def __init__(self, *_: Any, **__: Any) -> None: ...
    def begin(self) -> None: ...
    def hold(self, keys: Any) -> None: ...
    def tell(self, news: Any) -> None: ...
    def end(self) -> None: ...


class Work:
    """What the stages compute, in no time: no two trainings end alike, as on a GPU."""

    def __init__(self, patch: pytest.MonkeyPatch, model: Path) -> None:
        self.trainings = 0
        whole, load = checkpoint.load_model(str(model)), checkpoint.load_model

        def load_model(source: str, *given: Any) -> Any:
            return copy.deepcopy(whole) if source == str(model) else load(source, *given)

        patch.setattr(checkpoint, "load_model", load_model)
        patch.setattr("trsp.transfer.transfer", self._train)
        patch.setattr("trsp.surgery.check_kept", lambda *_: None)
        patch.setattr(items, "perplexity_item", self._score)
        patch.setattr("gc.collect", lambda: 0)

    def _train(self, model: Any, layers: Sequence[int], *_: Any, **__: Any) -> TransferRecord:
        self.trainings += 1
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(float(self.trainings))
        return TransferRecord(layers=tuple(layers), tokens=self.trainings)

    @staticmethod
    def _score(model: Any, *_: Any) -> ItemRecord:
        value = next(iter(model.parameters())).mean().item()
        return ItemRecord(scores={"perplexity": Score(value=value)}, window_nll=(value,))


@pytest.fixture
def cell(tmp_path: Path, tiny_llama: Path, text_file: Path) -> Cell:
    return cell_of(tmp_path, tiny_llama, text_file)


def test_whoever_comes_after_a_kill_at_any_change_loses_and_repeats_nothing_committed(
    cell: Cell, tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.scheduler.holdings.Heartbeat", SilentHeartbeat)
    work, life = Work(monkeypatch, tiny_llama), Life(monkeypatch)
    specs = [cell[kind] for kind in KINDS]
    death, died, between = 0, True, 0
    while died:
        store = Store(str(tmp_path / f"store {death}"))
        life.left = death
        died = True
        with suppress(Killed):
            ChainDriver(cell, store.uri, KINDS).drive()
            died = False
        life.left = None
        before = {spec.key: commits(store, spec) for spec in specs}
        between += len(before[specs[0].key]) != len(before[specs[1].key])
        trained = work.trainings
        ChainDriver(cell, store.uri, KINDS).drive()
        after = {spec.key: commits(store, spec) for spec in specs}
        assert [len(after[spec.key]) for spec in specs] == [1, 1, 1]
        assert all(after[key] == texts for key, texts in before.items() if texts)
        assert work.trainings - trained == (0 if before[specs[0].key] else 1)
        check_of_one_training(store, cell)
        assert orphans(store, specs) == []
        death += 1
    assert between >= 3, "some of these kills came between two commits"


def check_of_one_training(store: Store, cell: Cell) -> None:
    """The record, the checkpoint, the items and the scores are all of the same training."""
    number = store.stages.result(cell[TRANSFER].key)["tokens"]  # type: ignore[index]
    with store.stages.local_files(cell[PRUNE].key) as folder:
        model = checkpoint.load_model(str(folder))
    assert {parameter.mean().item() for parameter in model.parameters()} == {number}
    scores = store.stages.result(cell[EVALUATE].key)["scores"]  # type: ignore[index]
    assert scores["perplexity/tiny"]["value"] == number
    for key in cell.item_keys():
        assert store.stages.result(key)["window_nll"] == [number]  # type: ignore[index]


@pytest.mark.slow
def test_thirty_kills_at_random_moments_lose_and_repeat_nothing(tmp_path: Path) -> None:
    """With real trainings, in processes; a third of the chains measure, too."""
    name = "tests.orchestrator.execution.killed_chains"
    command = [sys.executable, "-m", name, str(tmp_path), "30", "0"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr[-5000:]
    committed = [line.partition(":")[2] for line in ended.stdout.splitlines() if "killed" in line]
    assert len(committed) == 30
    assert len(set(committed)) > 2, "they died in different stages"
