"""Requests to a store, counted where they leave for it."""

from collections import Counter
from typing import Any

import pytest

from orchestrator.store.files import StoreFiles, StoreFolder

# Calls that only compute, or hand on to one that is counted.
UNCOUNTED = {"address", "shown", "local_path", "folder", "write_json", "read_json"}


def counted_requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return a counter of all requests to any store from now on: ``read stages/rank/...``."""
    counts: Counter[str] = Counter()

    def wrap(owner: type, name: str, call: Any) -> None:
        def counted(self: Any, *args: Any, **options: Any) -> Any:
            counts[f"{name} {args[0] if args else ''}"] += 1
            return call(self, *args, **options)

        monkeypatch.setattr(owner, name, counted)

    for owner in (StoreFiles, StoreFolder):
        for name, call in list(vars(owner).items()):
            if callable(call) and not name.startswith("_") and name not in UNCOUNTED:
                wrap(owner, name, call)
    return counts
