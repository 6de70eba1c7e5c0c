"""Model cards beside their checkpoints: each is written once, as soon as it can have its scores."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.card_writer import CardWriter
from orchestrator.store.store import Store
from orchestrator.views.grid_view import Status
from tests.orchestrator import sample_views as sample


class Written:
    """Notes the cards that a store takes; it takes none while it is ``full``."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[str] = []
        self.full = False
        monkeypatch.setattr(store.stages, "write_file", self._write)

    def _write(self, key: str, name: str, data: bytes) -> None:
        if self.full:
            raise OSError("no space left on device")
        assert name == "README.md"
        assert data
        self.keys.append(key)


def test_a_card_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    written, writer = Written(store, monkeypatch), CardWriter(store)
    for view in sample.story(tmp_path):
        assert writer.write(view)
    assert len(written.keys) == len(set(written.keys)) == 5, "all cells but the one that failed"


def test_a_card_waits_for_the_scores_of_the_unpruned_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    written, writer = Written(store, monkeypatch), CardWriter(store)
    done = sample.finished(tmp_path)
    writer.write(replace(done, dense=(sample.dense_view(Status.RUNNING),)))
    assert written.keys == []
    writer.write(done)
    assert len(written.keys) == 6


def test_a_card_that_a_full_store_refuses_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    written, writer = Written(store, monkeypatch), CardWriter(store)
    done = sample.finished(tmp_path)
    written.full = True
    assert not writer.write(done)
    written.full = False
    assert writer.write(done)
    assert len(written.keys) == 6
