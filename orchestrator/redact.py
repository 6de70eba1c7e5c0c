"""Keeps secrets out of what is printed, recorded or logged. Pure; knows no store and no MLflow."""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
# Who an address is opened as: all up to the last @ before the path. A password that holds a slash
# which nobody has escaped ends at the last @ of the word; digits after a colon are a port.
_USER = re.compile(
    r"""(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]*://)
        ( [^/?\#\s'"<>]*@ | [^/?\#:\s'"<>]*:(?!\d*(?:[/?\#\s'"<>]|$))[^\s'"<>]*@ )""",
    re.VERBOSE,
)
# ``secret_key=VALUE``, in an address's options (``?`` and ``&``) or anywhere else in a text.
_OPTION = re.compile(
    r"""(?P<name>(?<![\w.-])[\w.-]*
        (?:secret|passw(?:or)?d|pwd|credentials?|(?:access|api|account|secret)[_-]?key(?:[_-]?id)?
         |(?<!per[_-])token|signature|\bsig|\bsas)
        (?:[_-](?:access[_-])?key)?)
        (?P<equals>=|%3D)(?P<value>[^&;\s'"<>(){},]+)""",
    re.VERBOSE | re.IGNORECASE,
)
_BEARER = re.compile(r"\b(Bearer|Basic) +[A-Za-z0-9._~+/=-]{8,}|\bhf_[A-Za-z0-9]{20,}")
_SECRET_NAME = re.compile(
    r"(password|passwd|secret|secret_key|credentials?|access_key|api_key|(^|(?<!per)_)token)$",
    re.IGNORECASE,
)


def redact(text: object) -> str:
    """Return the text without the credentials of any address or option in it.

    ``no answer of s3://ID:KEY@bucket/x?secret_key=KEY`` -> ``no answer of
    s3://***@bucket/x?secret_key=***``. To redact twice changes no more.
    """
    shown = _USER.sub(rf"\g<scheme>{HIDDEN}@", str(text))
    shown = _OPTION.sub(rf"\g<name>\g<equals>{HIDDEN}", shown)
    return _BEARER.sub(HIDDEN, shown)


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
