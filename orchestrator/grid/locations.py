"""Where things lie: variables and ``~`` in what people write, and absolute locations.

Knows no grid, and reads nothing but the environment.
"""

import os
import re
from pathlib import Path

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def trsp_home() -> Path:
    """Return where this user's store, database and caches are unless a grid says otherwise.

    It is ``$TRSP_HOME``, or else ``~/.trsp``.
    """
    return Path(expand_text_variables("${TRSP_HOME:-~/.trsp}")).absolute()


def expand_text_variables(text: str) -> str:
    """Return the text with ``${VAR}``, ``${VAR:-default}`` and a leading ``~/`` replaced.

    ValueError for a variable that is not set and has no default.
    """

    def replace(match: re.Match[str]) -> str:
        value = os.environ.get(match[1]) or match[2]
        if value is None:
            raise ValueError(
                f"${{{match[1]}}} is not set; export it, or write ${{{match[1]}:-default}}"
            )
        return os.path.expanduser(value)

    return os.path.expanduser(_VARIABLE.sub(replace, text))


def absolute_location(location: str) -> str:
    """Return a URI as it is, and a local folder as an absolute path without ``..``.

    The working directory of a submitted job is thrown away, so a relative folder would be too.
    """
    return location if "://" in location else os.path.abspath(location)


def absolute_path(path: str) -> str:
    """Return a local path made absolute, with ``~`` expanded and nothing else changed."""
    return str(Path(path).expanduser().absolute())
