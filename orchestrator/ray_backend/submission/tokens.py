"""The token that a cluster asks for, where Ray's own commands look for it. Knows no Ray.

``ray start`` takes token mode up by itself where it finds a token, and a client only where
RAY_AUTH_MODE says so: who submits from the very same shell is refused. So the token is looked up
here when a cluster asks for one, and sent to no other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Token:
    """A token, and where it was found, for people."""

    value: str = field(repr=False)
    source: str

    @property
    def headers(self) -> dict[str, str]:
        """The header that shows it to a cluster."""
        return {"Authorization": f"Bearer {self.value}"}


def find_token(environ: Mapping[str, str], home: Path) -> Token | None:
    """Return the token of the environment, else of a file, as Ray looks for it; None for none."""
    if value := environ.get("RAY_AUTH_TOKEN", "").strip():
        return Token(value, "RAY_AUTH_TOKEN")
    named = environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named).expanduser() if named else home / ".ray" / "auth_token"
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return Token(value, str(path)) if value else None


def refusal(url: str, token: Token | None) -> str:
    """Return what is said of a cluster that does not let us in, and the cure."""
    if token is None:
        return (
            f"the cluster at {url} asks for a token, and none was found in RAY_AUTH_TOKEN, in the "
            "file that RAY_AUTH_TOKEN_PATH names, or in ~/.ray/auth_token; on the machine where "
            "`ray start --head` ran, `ray get-auth-token` prints it: save it here as "
            "~/.ray/auth_token (chmod 600), or export RAY_AUTH_TOKEN"
        )
    return (
        f"the cluster at {url} does not take the token of {token.source}; it is that of another "
        "cluster: on the machine where `ray start --head` ran, `ray get-auth-token` prints the "
        "right one"
    )
