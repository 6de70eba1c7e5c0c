"""Keeps secrets out of logs, params, tags and artifacts. Pure; knows nothing of MLflow."""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_CREDENTIALS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/\s@]+@")
_SECRET_NAME = re.compile(
    r"(password|passwd|secret|credential|access_key|api_key|(^|_)token)$", re.IGNORECASE
)


def redact(text: object) -> str:
    """``postgresql://me:pw@host/db`` -> ``postgresql://***@host/db``, wherever it stands in the text."""
    return _CREDENTIALS.sub(rf"\g<scheme>{HIDDEN}@", str(text))


def redact_tree(value: Any) -> Any:
    """The same for nested settings; the value of a key named like a secret is hidden whole."""
    if isinstance(value, Mapping):
        return {
            str(k): HIDDEN if v and _SECRET_NAME.search(str(k)) else redact_tree(v)
            for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact_tree(item) for item in value]
    return redact(value) if isinstance(value, str) else value
