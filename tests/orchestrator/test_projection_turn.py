"""One of several drivers of a grid has the turn to write it into MLflow."""

from pathlib import Path

import pytest

from orchestrator.projection_turn import StoreTurn
from orchestrator.store.store import Store

WHAT = "grid-1 http://server TRSP"


def turn(folder: Path, what: str = WHAT) -> StoreTurn:
    """A driver's turn at a projection, on a store that all of them share."""
    return StoreTurn(Store(str(folder)), what, look_every_s=0)


def test_the_first_has_the_turn_and_the_others_are_told_who(tmp_path: Path) -> None:
    first, second = turn(tmp_path), turn(tmp_path)
    assert first.holder() == ""
    assert second.holder().startswith("another driver (process ")
    assert first.holder() == ""


def test_the_turn_of_one_that_ends_goes_to_the_next(tmp_path: Path) -> None:
    first, second = turn(tmp_path), turn(tmp_path)
    first.holder()
    second.holder()
    first.release()
    assert second.holder() == ""
    assert first.holder() != ""


def test_who_does_not_have_the_turn_cannot_give_it_away(tmp_path: Path) -> None:
    first, second = turn(tmp_path), turn(tmp_path)
    first.holder()
    second.holder()
    second.release()
    assert second.holder() != ""


def test_projections_into_two_servers_have_a_writer_each(tmp_path: Path) -> None:
    assert turn(tmp_path, "grid-1 http://here TRSP").holder() == ""
    assert turn(tmp_path, "grid-1 http://there TRSP").holder() == ""


def test_while_the_store_gives_no_answer_the_turn_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("connection refused")

    store = Store(str(tmp_path))
    first, second = (StoreTurn(store, WHAT, look_every_s=0) for _ in range(2))
    first.holder()
    second.holder()
    monkeypatch.setattr(store.claims, "take", refuse)
    assert first.holder() == ""
    assert second.holder() != ""
