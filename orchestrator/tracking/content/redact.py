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
    """Return the text without the credentials of any address in it.

    ``cannot reach postgresql://me:pw@host/db`` -> ``cannot reach postgresql://***@host/db``.
    """
    return _CREDENTIALS.sub(rf"\g<scheme>{HIDDEN}@", str(text))


def redact_tree(value: Any) -> Any:
    """Return nested settings with every text redacted.

    The value of a key that is named like a secret (``password``, ``hf_token``) is hidden whole.
    """
    if isinstance(value, Mapping):
        return {str(name): _redact_setting(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_tree(item) for item in value]
    return redact(value) if isinstance(value, str) else value


def _redact_setting(name: str, value: Any) -> Any:
    if value and _SECRET_NAME.search(name):
        return HIDDEN
    return redact_tree(value)
