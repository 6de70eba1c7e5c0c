"""A budget of a grid file: limits that a checkpoint must keep, and the metric to choose by."""

import re

from pydantic import Field, PositiveFloat, field_validator

from orchestrator.grid.shorthand import SHORT_BYTE_UNITS, Bytes, Count, short_count
from trsp.config import Settings


class Budget(Settings):
    """Limits a checkpoint must keep, and the metric to choose by under them."""

    name: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_-]*$",
        description="ends the registry alias, after the grid's name; default: made of the limits",
    )
    max_params: Count | None = None
    max_bytes: Bytes | None = Field(None, description="size of the checkpoint's weights")
    max_latency_ms: PositiveFloat | None = Field(
        None, description="prompt latency on the hardware of the measurement"
    )
    max_kv_bytes_per_token: Bytes | None = None
    metric: str | None = Field(
        None, description="e.g. perplexity/wiki or accuracy; default: the first perplexity"
    )

    @field_validator("name")
    @classmethod
    def _free_name(cls, name: str) -> str:
        """Refuse the aliases that MLflow keeps for itself."""
        if re.fullmatch(r"latest|v\d+", name.lower()):
            raise ValueError(f"{name!r} is an alias that MLflow keeps for itself; take another")
        return name

    @property
    def limits(self) -> dict[str, float]:
        """The given limits, by the metric that each limits (names of ``CellView.metrics``)."""
        limits = {
            "params": self.max_params,
            "bytes": self.max_bytes,
            "latency_ms": self.max_latency_ms,
            "kv_bytes_per_token": self.max_kv_bytes_per_token,
        }
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def alias(self) -> str:
        """The budget's name, or else ``best-params-110m``: of the limits and any metric given.

        The registry's alias has the grid's name before it (``views/aliases.py``).
        """
        if self.name:
            return self.name
        parts = []
        if self.max_params is not None:
            parts.append(f"params-{short_count(self.max_params)}")
        if self.max_bytes is not None:
            parts.append(f"bytes-{short_count(self.max_bytes, SHORT_BYTE_UNITS)}")
        if self.max_latency_ms is not None:
            parts.append(f"latency-{short_count(self.max_latency_ms, ('',))}ms")
        if self.max_kv_bytes_per_token is not None:
            parts.append(f"kv-{short_count(self.max_kv_bytes_per_token, SHORT_BYTE_UNITS)}")
        if self.metric is not None:
            parts.append("".join(c if c.isalnum() or c == "_" else "-" for c in self.metric))
        return "-".join(["best", *parts])
