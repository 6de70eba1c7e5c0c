"""Where MLflow's pages are, and whether anybody shows them there. Does not need MLflow."""

import socket
from urllib.parse import urlsplit, urlunsplit

DEFAULT_UI_URL = "http://127.0.0.1:5000"
_LISTEN_S = 0.5
_PORTS = {"http": 80, "https": 443}


def pages_url(tracking_uri: str, ui_url: str | None) -> str:
    """Return where people reach MLflow's pages.

    That is the address that the grid gives, else the tracking server itself, without who opens it;
    of a database, where ``trsp ui`` serves it.
    """
    if ui_url:
        return ui_url.rstrip("/")
    if not is_server(tracking_uri):
        return DEFAULT_UI_URL
    parts = urlsplit(tracking_uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")


def is_server(tracking_uri: str) -> bool:
    """Return whether a tracking URI is that of a server, which has pages."""
    return urlsplit(tracking_uri).scheme in _PORTS


def listens(url: str) -> bool:
    """Return whether anybody takes connections at a URL's host and port. Takes half a second."""
    parts = urlsplit(url)
    try:
        port = parts.port or _PORTS.get(parts.scheme, 0)
        socket.create_connection((parts.hostname or "", port), timeout=_LISTEN_S).close()
    except (OSError, ValueError):
        return False
    return True


def link_line(link: str, file: str) -> str:
    """Return the line that shows a leaderboard's link, with the cure where nothing listens there.

    ``file``: the grid's, as it is named on the command line.
    """
    line = f"leaderboard: {link}"
    if listens(link):
        return line
    return f"{line}\nnothing listens there now; `trsp ui {file}` shows it"
