"""What is asked of MLflow: every call of its client, counted by name."""

from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from mlflow import MlflowClient

WRITES = frozenset(
    {
        "create_run",
        "create_model_version",
        "delete_run",
        "delete_tag",
        "log_artifact",
        "log_batch",
        "log_outputs",
        "set_tag",
        "set_terminated",
        "update_run",
    }
)


def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return the calls of MLflow's clients from now on, by their methods' names."""
    calls: Counter[str] = Counter()

    def counting(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return method(*args, **kwargs)

        return call

    for name, method in vars(MlflowClient).items():
        if callable(method) and not name.startswith("_"):
            monkeypatch.setattr(MlflowClient, name, counting(name, method))
    return calls


def writes(calls: Counter[str]) -> Counter[str]:
    """Return those that change something."""
    return Counter({name: count for name, count in calls.items() if name in WRITES})
