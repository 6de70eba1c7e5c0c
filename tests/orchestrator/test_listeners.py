"""MLflow and the model cards hold up neither the driver nor each other, nor its end."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from orchestrator import listeners as listeners_module
from orchestrator.listeners import Listeners
from orchestrator.store.store import Store
from orchestrator.tracking.tracker import MlflowTracker
from orchestrator.views.grid_view import GridView, killed
from tests.orchestrator import sample_views as sample
from trsp.errors import TrackingError

LONG_S = 20.0  # nothing here takes so long


class Tracker:
    """An MLflow at the border: it notes the views, and hangs until ``answers`` is set."""

    def __init__(self) -> None:
        self.trouble, self.writer = "", ""
        self.answers = threading.Event()
        self.asked, self.ended = threading.Event(), threading.Event()
        self.finished: list[GridView] = []

    def project(self, _: GridView) -> None:
        self.asked.set()
        self.answers.wait(LONG_S)

    def finish(self, view: GridView, limit_s: float) -> None:
        assert limit_s > 0
        self.answers.wait(LONG_S)
        self.finished.append(view)
        self.ended.set()


class Cards:
    """A store at the border: it notes the cards."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written = threading.Semaphore(0)
        self.takes_them = True
        monkeypatch.setattr(store.stages, "write_file", self._write)

    def _write(self, *_: object) -> None:
        if not self.takes_them:
            raise OSError("no space left on device")
        self.written.release()


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    """A tracker whose threads are let go at the end."""
    made = Tracker()
    yield made
    made.answers.set()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.fixture
def cards(store: Store, monkeypatch: pytest.MonkeyPatch) -> Cards:
    return Cards(store, monkeypatch)


@pytest.fixture
def listeners(tracker: Tracker, store: Store, cards: Cards) -> Listeners:
    return Listeners(cast(MlflowTracker, tracker), store)


def test_cards_are_written_while_mlflow_hangs(
    listeners: Listeners, tracker: Tracker, cards: Cards, tmp_path: Path
) -> None:
    listeners.tell(sample.finished(tmp_path))
    assert tracker.asked.wait(LONG_S)
    for _ in range(6):
        assert cards.written.acquire(timeout=LONG_S)


def test_the_end_of_a_stopped_grid_waits_seconds_for_an_mlflow_that_hangs(
    listeners: Listeners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert listeners_module.STOP_LIMIT_S + listeners_module.REQUEST_S <= 15
    monkeypatch.setattr(listeners_module, "STOP_LIMIT_S", 0.1)
    monkeypatch.setattr(listeners_module, "REQUEST_S", 0.1)
    view = killed(sample.story(tmp_path)[5], "stopped by SIGTERM")
    listeners.tell(view)
    with pytest.raises(TrackingError, match=r"no answer within 0\.2 s at the end of grid 'sample'"):
        listeners.finish(view)


def test_mlflow_is_closed_while_the_last_cards_hang(
    listeners: Listeners,
    tracker: Tracker,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stopped driver may be killed three seconds later: its cards may not take them all."""
    free = threading.Event()
    monkeypatch.setattr(store.stages, "write_file", lambda *_: free.wait(LONG_S))
    tracker.answers.set()
    view = killed(sample.story(tmp_path)[5], "stopped by SIGTERM")
    listeners.end(view)
    assert tracker.ended.wait(LONG_S)
    assert tracker.finished == [view]
    free.set()


def test_the_end_closes_mlflow_with_the_last_view(
    listeners: Listeners, tracker: Tracker, tmp_path: Path
) -> None:
    tracker.answers.set()
    view = sample.finished(tmp_path)
    assert listeners.finish(view) == ""
    assert tracker.finished == [view]


def test_cards_that_the_store_does_not_take_are_told_of_at_the_end(
    listeners: Listeners, tracker: Tracker, cards: Cards, tmp_path: Path
) -> None:
    tracker.answers.set()
    cards.takes_them = False
    assert "run the same grid file again" in listeners.finish(sample.finished(tmp_path))


def test_an_mlflow_that_fails_is_told_of_once_and_so_is_its_return(
    listeners: Listeners, tracker: Tracker
) -> None:
    heard = []
    for trouble in ("", "refused", "refused: 0x7f", "", ""):
        tracker.trouble = trouble
        heard.append(listeners.news())
    behind = "MLflow is behind, results are safe in the store: refused"
    assert heard == ["", behind, "", "MLflow has caught up", ""]


def test_another_driver_that_writes_is_told_of_and_so_is_that_we_do(
    listeners: Listeners, tracker: Tracker
) -> None:
    heard = []
    for writer in ("another driver (process 7 on node-1)", ""):
        tracker.writer = writer
        heard.append(listeners.news())
    assert heard == [
        "another driver (process 7 on node-1) writes this grid into MLflow",
        "MLflow is written from here now",
    ]
