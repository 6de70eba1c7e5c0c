"""Which faults are made, and when they are undone. None is made for real."""

import random
from typing import Any, cast

import pytest

from tests.trials import faults
from tests.trials.faults import Faults
from tests.trials.world import World


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Faults of three kinds, of which one can never be made."""
    kinds: dict[str, Any] = {
        "one": lambda *_: "one is made",
        "other": lambda *_: "other is made",
        "never": lambda *_: "",
    }
    monkeypatch.setattr(faults, "_KINDS", kinds)
    return Faults(cast(World, None), random.Random(0), pause_s=1.0)


def test_all_kinds_that_can_be_made_come_equally_often(made: Faults) -> None:
    for _ in range(20):
        made.make([])
    assert made.made == {"one": 10, "other": 10}


def test_none_is_counted_where_none_can_be_made(
    made: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "_KINDS", {"never": lambda *_: ""})
    assert made.make([]) == ""
    assert not made.made


def test_what_was_away_for_a_while_was_away_in_a_time_that_touches_it(made: Faults) -> None:
    made.outages.append(faults.Outage("S3", since=10.0, until=15.0))
    assert made.was_away("S3", 14.0, 20.0)
    assert not made.was_away("S3", 15.5, 20.0)
    assert not made.was_away("MLflow", 14.0, 20.0)
