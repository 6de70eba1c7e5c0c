"""Budgets: their limits, and the alias that is made of these."""

from typing import Any

import pytest

from orchestrator.grid.budgets import Budget


@pytest.mark.parametrize(
    ("budget", "alias", "limits"),
    [
        ({"max_params": "110M"}, "best-params-110m", {"params": 110_000_000}),
        ({"max_params": "1.5B"}, "best-params-1500m", {"params": 1_500_000_000}),
        ({"max_params": 134515008}, "best-params-134515008", {"params": 134515008}),
        ({"max_bytes": "250MB"}, "best-bytes-250mb", {"bytes": 250_000_000}),
        ({"max_bytes": "1KiB"}, "best-bytes-1024b", {"bytes": 1024}),
        ({"max_latency_ms": 12.5}, "best-latency-12_5ms", {"latency_ms": 12.5}),
        (
            {"max_params": "1k", "metric": "piqa/acc_norm"},
            "best-params-1k-piqa-acc_norm",
            {"params": 1000},
        ),
        ({"name": "phone", "max_kv_bytes_per_token": "9kB"}, "phone", {"kv_bytes_per_token": 9000}),
    ],
)
def test_budgets(budget: dict[str, Any], alias: str, limits: dict[str, float]) -> None:
    found = Budget.model_validate(budget)
    assert (found.alias, found.limits) == (alias, limits)
