"""What is said to drivers by way of the cluster's key-value store, which they share."""

import pytest

from orchestrator.ray_backend.sharing import begun


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
