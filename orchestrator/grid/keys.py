"""Content keys: the hash of canonical JSON by which cells, stages and layouts are known."""

import hashlib
import json
from typing import Any

KEY_DIGITS = (
    24  # of 64 hex digits: 96 bits, no collision among any number of stages that fit on a disk
)


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no blanks, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_key(kind: str, value: Any) -> str:
    """``rank-3f0a...``: the kind, then the first 96 bits of the sha256 of the canonical JSON."""
    return f"{kind}-{hashlib.sha256(canonical_json(value).encode()).hexdigest()[:KEY_DIGITS]}"
