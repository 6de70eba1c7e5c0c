"""A port that leads to another until it is closed: so a server goes away that others need."""

import contextlib
import socket
import threading
from collections.abc import Iterator

HOST = "127.0.0.1"


@contextlib.contextmanager
def forwarded(port: int) -> Iterator[str]:
    """The http address that leads to a port of this machine, and at the end refuses connections."""
    listener = socket.create_server((HOST, 0))
    opened = [listener]
    threading.Thread(target=_accept, args=(listener, port, opened), daemon=True).start()
    try:
        yield f"http://{HOST}:{listener.getsockname()[1]}"
    finally:
        for each in opened:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _accept(listener: socket.socket, port: int, opened: list[socket.socket]) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            server = socket.create_connection((HOST, port))
            opened += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes, and its end."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
