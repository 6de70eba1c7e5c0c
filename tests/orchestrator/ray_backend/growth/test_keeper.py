"""What a driver tells the keeper of requests, also where Ray gives no answer."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

from orchestrator.ray_backend.growth import keeper
from orchestrator.ray_backend.growth.keeper import NodeRequests
from orchestrator.ray_backend.growth.requests import Want

SOMETHING, NOTHING = Want([[{"GPU": 1.0}]]), Want()


class FakeKeeper:
    """Hears what is wanted, and answers unless it is ``silent``."""

    def __init__(self) -> None:
        self.heard: list[Want] = []
        self.silent = False
        self.sent: list[Want] = []
        self.want = SimpleNamespace(remote=self.send)

    def send(self, job: str, want: Want) -> Want:
        self.sent.append(want)
        return want

    def get(self, want: Want, timeout: float) -> None:
        if self.silent:
            raise GetTimeoutError
        self.heard.append(want)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeKeeper:
    fake = FakeKeeper()
    context: Any = SimpleNamespace(get_job_id=lambda: "01")
    monkeypatch.setattr(keeper.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(keeper.ray, "get", fake.get)
    monkeypatch.setattr(keeper, "_find_keeper", lambda: fake)
    return fake


def test_letting_go_is_said_once_more_where_it_was_not_heard(fake: FakeKeeper) -> None:
    """Nodes stayed until the driver ended: after one silence it took nothing for asked."""
    requests = NodeRequests()
    requests.want(SOMETHING)
    fake.silent = True
    requests.want(NOTHING)
    fake.silent = False
    requests.want(NOTHING)
    assert fake.heard == [SOMETHING, NOTHING]


def test_what_was_let_go_is_not_let_go_again(fake: FakeKeeper) -> None:
    """The keeper has ended by then, and another would be started for it."""
    requests = NodeRequests()
    for want in (NOTHING, SOMETHING, NOTHING, NOTHING):
        requests.want(want)
    assert fake.heard == [SOMETHING, NOTHING]


def test_who_goes_lets_go_without_waiting_for_an_answer(fake: FakeKeeper) -> None:
    """A job that is stopped has three seconds; a keeper that is silent took twenty of them."""
    requests = NodeRequests()
    requests.want(SOMETHING)
    requests.let_go()
    assert (fake.sent, fake.heard) == ([SOMETHING, NOTHING], [SOMETHING])
