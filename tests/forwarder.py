"""A port that leads to another, until it is told to refuse: a server goes away and comes back."""

import contextlib
import socket
import threading
from collections.abc import Iterator

HOST = "127.0.0.1"


class Forwarder:
    """A port of this machine, ``port``, that leads to another one.

    While it refuses, the port stays ours: nobody else gets it.
    """

    def __init__(self, target: int) -> None:
        """``target``: the port that it leads to."""
        self._target = target
        self._opened: list[socket.socket] = []
        self._listener = _bound(0)
        self.port = int(self._listener.getsockname()[1])
        self.answer()

    def answer(self) -> None:
        """Take connections (again)."""
        self._listener.listen()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Cut every connection, and take no more."""
        _close(self._listener)
        self._listener = _bound(self.port)
        opened, self._opened = self._opened, []
        for each in opened:
            _close(each)

    def close(self) -> None:
        """Cut every connection, and give the port back."""
        self.refuse()
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((HOST, self._target))
                self._opened += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=_pump, args=(source, target), daemon=True).start()


@contextlib.contextmanager
def forwarded(port: int) -> Iterator[str]:
    """The http address that leads to a port of this machine, and at the end refuses connections."""
    forwarder = Forwarder(port)
    try:
        yield f"http://{HOST}:{forwarder.port}"
    finally:
        forwarder.close()


def _bound(port: int) -> socket.socket:
    """A socket that has the port (0: any) and does not listen: connections to it are refused."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((HOST, port))
    return bound


def _close(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)
    opened.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes, and its end."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
