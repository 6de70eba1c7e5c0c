"""Content keys: the hash of canonical JSON by which cells, stages and layouts are known."""

import hashlib
import json
from typing import Any

# Of 64 hex digits: 96 bits, no collision among any number of stages that fit on a disk.
KEY_DIGITS = 24


def canonical_json(value: Any) -> str:
    """Return the one text of a value: sorted keys, no blanks; ValueError for NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_key(kind: str, value: Any) -> str:
    """Return ``rank-3f0a...``: the kind, and 96 bits of the sha256 of the canonical JSON."""
    return f"{kind}-{hashlib.sha256(canonical_json(value).encode()).hexdigest()[:KEY_DIGITS]}"
