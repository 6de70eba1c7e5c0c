"""A gang without room is asked for again, for ever; other errors at its start are errors."""

from collections.abc import Callable

import pytest
from ray.train import TrainingFailedError
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
)
from ray.train.v2.api.exceptions import ControllerError

from orchestrator.ray_backend.gang import START_ATTEMPTS, fit_when_there_is_room

NO_ROOM = ControllerError(WorkerGroupStartupTimeoutError(8))


def fit_that_ends_with(outcomes: list[Exception | None]) -> Callable[[], None]:
    """A trainer's fit that ends so, one after the other."""

    def fit() -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome

    return fit


def test_a_gang_that_waits_for_room_waits_for_ever() -> None:
    outcomes: list[Exception | None] = [NO_ROOM] * (START_ATTEMPTS + 1)
    outcomes.append(None)
    fit_when_there_is_room(fit_that_ends_with(outcomes))
    assert outcomes == []


@pytest.mark.parametrize(
    "error",
    [
        ControllerError(WorkerGroupStartupFailedError("its node died")),
        TrainingFailedError("rank 1"),
    ],
)
def test_what_is_no_lack_of_room_ends_the_gang(error: TrainingFailedError) -> None:
    with pytest.raises(type(error)):
        fit_when_there_is_room(fit_that_ends_with([NO_ROOM, error, None]))
