"""A forwarder leads to a server, refuses, and answers again on the same port."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.forwarder import HOST, Forwarder

LIMIT_S = 5


@pytest.fixture
def forwarder() -> Iterator[Forwarder]:
    """One that leads to a server that gives back what it gets."""
    server = socket.create_server((HOST, 0))
    threading.Thread(target=_echo, args=(server,), daemon=True).start()
    made = Forwarder(server.getsockname()[1])
    yield made
    made.close()
    server.close()


def _echo(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = server.accept()
            with contextlib.suppress(OSError):
                while data := client.recv(100):
                    client.sendall(data)


def _connected(forwarder: Forwarder) -> socket.socket:
    return socket.create_connection((HOST, forwarder.port), timeout=LIMIT_S)


def test_what_is_sent_comes_back(forwarder: Forwarder) -> None:
    with _connected(forwarder) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


def test_while_it_refuses_connections_are_cut_and_none_is_taken(forwarder: Forwarder) -> None:
    with _connected(forwarder) as client:
        client.sendall(b"hello")
        client.recv(100)
        forwarder.refuse()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""
    with pytest.raises(ConnectionRefusedError):
        _connected(forwarder)


def test_after_a_refusal_it_leads_to_the_server_again(forwarder: Forwarder) -> None:
    forwarder.refuse()
    forwarder.answer()
    with _connected(forwarder) as client:
        client.sendall(b"again")
        assert client.recv(100) == b"again"
