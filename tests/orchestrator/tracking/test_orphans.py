"""Which runs of other grids are closed: by two clocks, of which one may be wrong."""

import time

import pytest
from mlflow import MlflowClient

from orchestrator.tracking.orphans import LONG_DEAD_S, SILENT_S, WATCHED_S, Orphans
from orchestrator.tracking.written_run import HEARTBEAT
from tests.orchestrator.fake_launcher import Clock
from tests.orchestrator.tracking.reading import client_of

BEHIND_S = 2 * SILENT_S  # by so much the other machine's clock lags behind ours


class Other:
    """An open run of another grid, whose driver's clock is behind ours."""

    def __init__(self, client: MlflowClient, behind_s: float) -> None:
        self._client, self._behind_s = client, behind_s
        tags = {"trsp.kind": "grid", "trsp.grid": "grid-1"}
        self.experiment_id = client.create_experiment("e")
        self._id = client.create_run(self.experiment_id, tags=tags).info.run_id
        self.beat()

    def beat(self, after_s: float = 0.0) -> None:
        """Say that it lives, so many seconds after now."""
        said = time.time() - self._behind_s + after_s
        self._client.set_tag(self._id, HEARTBEAT, f"{said:.0f}")

    @property
    def status(self) -> str:
        return str(self._client.get_run(self._id).info.status)


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return client_of(uri)


def test_a_driver_whose_clock_is_wrong_lives_as_long_as_it_says_something_new(
    client: MlflowClient,
) -> None:
    other, clock = Other(client, BEHIND_S), Clock()
    orphans = Orphans(client, other.experiment_id, clock)
    for after_s in (0.0, WATCHED_S, 2 * WATCHED_S):
        clock.now = after_s
        other.beat(after_s)
        assert orphans.close((), SILENT_S, WATCHED_S) == 0
        assert orphans.watched
    assert other.status == "RUNNING"


def test_a_driver_that_says_nothing_while_it_is_watched_is_dead(client: MlflowClient) -> None:
    other, clock = Other(client, BEHIND_S), Clock()
    orphans = Orphans(client, other.experiment_id, clock)
    assert orphans.close((), SILENT_S, WATCHED_S) == 0
    clock.now = WATCHED_S
    assert orphans.close((), SILENT_S, WATCHED_S) == 1
    assert (other.status, orphans.watched) == ("KILLED", False)


def test_a_driver_not_heard_of_for_more_than_a_day_need_not_be_watched(
    client: MlflowClient,
) -> None:
    other = Other(client, 2 * LONG_DEAD_S)
    assert Orphans(client, other.experiment_id).close((), SILENT_S, WATCHED_S) == 1
    assert other.status == "KILLED"


def test_a_driver_heard_of_a_moment_ago_is_not_watched(client: MlflowClient) -> None:
    other = Other(client, 0.0)
    orphans = Orphans(client, other.experiment_id)
    assert orphans.close((), SILENT_S, watched_s=0.0) == 0
    assert not orphans.watched
