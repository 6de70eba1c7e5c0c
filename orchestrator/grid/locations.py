"""Where things lie: variables and ``~`` in what people write, and absolute locations.

Knows no grid, and reads nothing but the environment.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
# A grid may come from somebody else, and its texts end up in names, tags and addresses: of the
# environment it sees what speaks of places, and what the person who runs it allows by name.
_OPEN_NAMES = frozenset({"HOME", "USER"})
_OPEN_PREFIX = "TRSP_"
ALLOWED_VARIABLES = "TRSP_ALLOW_VARIABLES"  # names, parted by commas


def trsp_home() -> Path:
    """Return where this user's store, database and caches are unless a grid says otherwise.

    It is ``$TRSP_HOME``, or else ``~/.trsp``.
    """
    return Path(expand_text_variables("${TRSP_HOME:-~/.trsp}")).absolute()


def expand_text_variables(text: str) -> str:
    """Return the text with ``${VAR}``, ``${VAR:-default}`` and a leading ``~/`` replaced.

    ValueError for a variable that is not set and has no default, and for one that a grid may not
    see. A default stands for any variable that is not set.
    """

    def replace(match: re.Match[str]) -> str:
        if not _may_see(match[1]) and (match[2] is None or os.environ.get(match[1])):
            raise ValueError(_not_allowed(match[1]))
        value = os.environ.get(match[1]) or match[2]
        if value is None:
            raise ValueError(
                f"${{{match[1]}}} is not set; export it, or write ${{{match[1]}:-default}}"
            )
        return os.path.expanduser(value)

    return os.path.expanduser(_VARIABLE.sub(replace, text))


def variables_of(text: str) -> frozenset[str]:
    """Return the names of the variables in a text that a grid may see."""
    return frozenset(match[1] for match in _VARIABLE.finditer(text) if _may_see(match[1]))


def allow_variables(names: Iterable[str]) -> None:
    """Let grids that this process reads see these variables of the environment, too."""
    allowed = {*_allowed_names(), *names}
    if allowed:
        os.environ[ALLOWED_VARIABLES] = ",".join(sorted(allowed))


def _may_see(name: str) -> bool:
    """Whether a grid may see the variable of this name."""
    return name.startswith(_OPEN_PREFIX) or name in _OPEN_NAMES or name in _allowed_names()


def _allowed_names() -> frozenset[str]:
    """Return the names that the environment allows by ``TRSP_ALLOW_VARIABLES``."""
    listed = os.environ.get(ALLOWED_VARIABLES, "").split(",")
    return frozenset(name.strip() for name in listed if name.strip())


def _not_allowed(name: str) -> str:
    """Return what is said of a variable that a grid may not see."""
    return (
        f"${{{name}}} is not for grid files to see: they may use {_OPEN_PREFIX}*, "
        f"{' and '.join(sorted(_OPEN_NAMES))}; if you trust this file with it, add "
        f"--allow-variable {name}, or export {ALLOWED_VARIABLES}={name}"
    )


def absolute_location(location: str) -> str:
    """Return a URI as it is, and a local folder as an absolute path without ``..``.

    The working directory of a submitted job is thrown away, so a relative folder would be too.
    """
    return location if "://" in location else os.path.abspath(location)


def absolute_path(path: str) -> str:
    """Return a local path made absolute, with ``~`` expanded and nothing else changed."""
    return str(Path(path).expanduser().absolute())
