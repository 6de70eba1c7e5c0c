"""Messages over a socket: whole or not at all, and the end, which is found in any case."""

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from orchestrator.processes.wire import Closed, Wire, send_end


@pytest.fixture
def pair() -> Iterator[tuple[Wire, Wire]]:
    ours, its = socket.socketpair()
    with ours, its:
        yield Wire(ours), Wire(its)


def test_messages_come_in_order_however_they_are_cut(pair: tuple[Wire, Wire]) -> None:
    ours, its = pair
    its.send({"a": [1, "ä"]})
    its.send(0)
    assert [ours.receive(1), ours.receive(1)] == [{"a": [1, "ä"]}, 0]


def test_nothing_is_waited_for_no_longer_than_asked(pair: tuple[Wire, Wire]) -> None:
    assert pair[0].receive(0.01) is None


def test_the_end_comes_after_what_was_said_before(pair: tuple[Wire, Wire]) -> None:
    ours, its = pair
    its.send("last")
    send_end(its.connection, Closed(-11))
    assert [ours.receive(1), ours.receive(1)] == ["last", Closed(-11)]


def test_the_end_is_found_behind_half_a_message(pair: tuple[Wire, Wire]) -> None:
    ours, its = pair
    its.connection.sendall((1000).to_bytes(4, "big") + b"half")
    send_end(its.connection, Closed(-9, out_of_memory=True))
    assert ours.receive(1) == Closed(-9, out_of_memory=True)


def test_a_connection_that_closes_without_a_word_says_nothing_of_the_end(
    pair: tuple[Wire, Wire],
) -> None:
    ours, its = pair
    its.connection.close()
    assert ours.receive(1) == Closed()


def test_who_reads_nothing_holds_nobody_up(pair: tuple[Wire, Wire]) -> None:
    ours, its = pair
    its.connection.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            its.connection.send(b"x" * 1000)
    its.connection.setblocking(True)
    send_end(its.connection, Closed(0))
    assert ours.connection.recv(1) == b"x"
