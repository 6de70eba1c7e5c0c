"""Values as MLflow takes them: strings without secrets, rounded numbers, digests. Pure."""

import json
from collections.abc import Mapping
from hashlib import sha256

from orchestrator.tracking.redact import redact
from orchestrator.tracking.rounding import rounded
from orchestrator.views import CellView, DenseView, GridView, RankView
from trsp.config import Settings


def reason_of(part: GridView | RankView | DenseView | CellView) -> str:
    return redact(part.reason or part.status.value)


def all_rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: rounded(value) for name, value in values.items()}


def strings(values: Mapping[str, object]) -> dict[str, str]:
    return {name: redact(value) for name, value in values.items() if value is not None}


def nested(prefix: str, settings: Settings) -> dict[str, object]:
    return {f"{prefix}.{name}": value for name, value in settings.model_dump(mode="json").items() if name != "name"}


def digest(value: object) -> str:
    """Of anything JSON can say, and of the infinite perplexity of a ruined model."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
