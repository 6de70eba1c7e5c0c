"""Values as MLflow takes them: strings without secrets, rounded numbers, digests. Pure."""

import json
import math
import re
from collections.abc import Mapping
from hashlib import sha256

from orchestrator.redact import redact
from orchestrator.views.grid_view import CellView, DenseView, GridView, RankingView
from trsp.config import Settings

DIGITS = 4


def reason_of(part: GridView | RankingView | DenseView | CellView) -> str:
    """Return why a part of the grid is where it is; its status where it gives no reason."""
    return redact(part.reason or part.status.value)


def all_rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Return these metrics as ``rounded`` gives each."""
    return {name: rounded(value) for name, value in values.items()}


def strings(values: Mapping[str, object]) -> dict[str, str]:
    """Return these settings as text without secrets; those that are None are left out."""
    return {name: redact(value) for name, value in values.items() if value is not None}


def nested(prefix: str, settings: Settings) -> dict[str, object]:
    """Return a method's settings except its name, each as ``PREFIX.SETTING``."""
    return {
        f"{prefix}.{name}": value
        for name, value in settings.model_dump(mode="json").items()
        if name != "name"
    }


def registered_name(model: str) -> str:
    """Return what MLflow takes as a model's name: ``org/Model-1.5:b`` -> ``org-Model-1-5-b``."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", model).strip("-") or "model"


def digest(value: object) -> str:
    """Return 12 hexadecimal digits that stand for a value: anything JSON can say.

    The infinite perplexity of a ruined model has a digest too.
    """
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def rounded(value: float) -> float:
    """Return four significant digits, and all digits before the point.

    27.5634 -> 27.56, 12345.6 -> 12346. Infinities and NaN stay.
    """
    if not math.isfinite(value) or value == int(value):
        return value
    magnitude = math.floor(math.log10(abs(value)))
    return round(value, max(0, DIGITS - 1 - magnitude))
