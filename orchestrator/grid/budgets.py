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
        description="ends the alias in the registry, after the grid's name; default: made of the "
        "limits, such as best-params-5b",
        examples=["phone"],
    )
    max_params: Count | None = Field(
        None,
        description="most parameters, such as 110M or 1.5B; default: no limit",
        examples=["5B"],
    )
    max_bytes: Bytes | None = Field(
        None,
        description="largest size of the checkpoint's weights, in the precision they are saved in; "
        "default: no limit",
        examples=["12GB"],
    )
    max_latency_ms: PositiveFloat | None = Field(
        None,
        description="longest latency of a prompt in milliseconds, on the hardware and by the "
        "protocol of the measurement; default: no limit",
        examples=[250],
    )
    max_kv_bytes_per_token: Bytes | None = Field(
        None,
        description="most bytes of keys and values per token of context, which bound batch and "
        "context when serving; default: no limit",
        examples=["96KiB"],
    )
    metric: str | None = Field(
        None,
        description="what is best: a perplexity (lowest) or an accuracy (highest); default: the "
        "first perplexity",
        examples=["accuracy"],
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
