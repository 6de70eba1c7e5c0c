"""What is said to drivers by way of the cluster's key-value store, which they share."""

import time
from collections.abc import Callable

import pytest
from ray.exceptions import RpcError

from orchestrator.ray_backend.sharing import begun
from orchestrator.ray_backend.sharing.telling import progress_of


def test_what_is_said_to_a_driver_that_comes_during_the_sweep_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It joins, and its first stage speaks, between the two looks of the sweep."""
    entries = {b"01-a/1/computes/", b"02-b/1/computes/"}
    alive = [{"JobID": "02", "IsDead": False}, {"JobID": "01", "IsDead": True}]

    def looks(answer: list[object]) -> list[object]:
        seen = list(answer)
        entries.add(b"03-c/1/computes/")
        alive.append({"JobID": "03", "IsDead": False})
        return seen

    monkeypatch.setattr(begun, "jobs", lambda: looks(alive))
    monkeypatch.setattr(begun, "_internal_kv_list", lambda *_, **__: looks(list(entries)))
    monkeypatch.setattr(begun, "_internal_kv_del", lambda entry, **_: entries.discard(entry))
    begun._sweep()
    assert entries == {b"02-b/1/computes/", b"03-c/1/computes/"}


def test_of_how_far_a_stage_has_come_the_last_word_counts() -> None:
    said = begun._begun(
        [
            "0/node-a",
            "computes/",
            "progress/9/rank-1/step 9 of 20, loss 2.9",
            "progress/10/rank-1/step 10 of 20, loss 2.8",
            "progress/3/prune-1/perplexity/wiki (1 of 2), window 4 of 9",
            "gpus/0/2,3",
        ]
    )
    assert said.progress == {
        "rank-1": "step 10 of 20, loss 2.8",
        "prune-1": "perplexity/wiki (1 of 2), window 4 of 9",
    }
    assert said.computes
    assert said.gpus == {0: "2,3"}
    assert said.nodes == {0: "node-a"}


def test_each_word_takes_the_place_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    entries: dict[str, None] = {}
    monkeypatch.setattr(
        begun, "_internal_kv_put", lambda name, *_, **__: entries.update({name: None})
    )
    monkeypatch.setattr(begun, "_internal_kv_del", lambda name, **_: entries.pop(name))
    with progress_of(begun.Sign("01-a/1/")) as progress:
        for step in range(1, 4):
            progress.tell("rank-1", f"step {step} of 3")
            wait_until(lambda text=f"step {step} of 3": any(text in each for each in entries))
    assert list(entries) == ["01-a/1/progress/3/rank-1/step 3 of 3"]


def test_a_control_service_that_gives_no_answer_disturbs_no_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []

    def put(name: str, *_: object, **__: object) -> None:
        tried.append(name)
        raise RpcError("the service is away", rpc_code=14)

    monkeypatch.setattr(begun, "_internal_kv_put", put)
    with progress_of(begun.Sign("01-a/1/")) as progress:
        progress.tell("rank-1", "step 1 of 3")
        wait_until(lambda: tried)


def wait_until(condition: Callable[[], object], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
