"""Values as MLflow takes them: strings without secrets, rounded numbers, digests. Pure."""

import json
import math
from collections.abc import Mapping
from hashlib import sha256

from orchestrator.tracking.content.redact import redact
from orchestrator.views.grid_view import CellView, DenseView, GridView, RankingView
from trsp.config import Settings


def reason_of(part: GridView | RankingView | DenseView | CellView) -> str:
    return redact(part.reason or part.status.value)


def all_rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: rounded(value) for name, value in values.items()}


def strings(values: Mapping[str, object]) -> dict[str, str]:
    return {name: redact(value) for name, value in values.items() if value is not None}


def nested(prefix: str, settings: Settings) -> dict[str, object]:
    return {
        f"{prefix}.{name}": value
        for name, value in settings.model_dump(mode="json").items()
        if name != "name"
    }


def digest(value: object) -> str:
    """Of anything JSON can say, and of the infinite perplexity of a ruined model."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


DIGITS = 4


def rounded(value: float) -> float:
    """Four significant digits, and never fewer than all digits before the point: 27.5634 -> 27.56, 1234.5 -> 1234."""
    if not math.isfinite(value) or value == int(value):
        return value
    magnitude = math.floor(math.log10(abs(value)))
    return round(value, max(0, DIGITS - 1 - magnitude))
