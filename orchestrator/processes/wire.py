"""Messages between a process and whoever has called it, and how it ended, which comes last.

Over a stream socket: JSON values, each after its length. Knows no processes.
"""

import json
import select
import socket
import struct
import threading
from dataclasses import dataclass
from typing import Any

_LENGTH = struct.Struct(">I")
_END = struct.Struct(">Iii")  # _ENDED, the status and whether memory ran out
_ENDED = 0xFFFF_FFFF  # in place of a length
_NO_STATUS = -1000
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Closed:
    """Nothing more will come: the other end is gone.

    ``status`` is the exit code of the process, or the number of the signal that ended it, negative;
    None where nobody has said. ``out_of_memory``: the kernel has ended it for want of memory.
    """

    status: int | None = None
    out_of_memory: bool = False


class Wire:
    """One end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._received = bytearray()
        self._sending = threading.Lock()

    def send(self, message: Any) -> None:
        """Send a JSON value, from any thread. OSError: the other end is gone."""
        data = json.dumps(message).encode()
        with self._sending:
            self.connection.sendall(_LENGTH.pack(len(data)) + data)

    def receive(self, wait_s: float | None) -> Any:
        """Return the next message; None where none comes within ``wait_s`` (None: for ever).

        Closed where nothing more will come. A message is never None.
        """
        while (message := self._next()) is None:
            if not _readable(self.connection, wait_s):
                return None
            try:
                data = self.connection.recv(_CHUNK_BYTES)
            except ConnectionError:
                data = b""
            if not data:
                return _end_of(bytes(self._received[-_END.size :]))
            self._received += data
        return message

    def _next(self) -> Any:
        """Take the first message off what was received; None while it is not whole."""
        if len(self._received) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._received)
        if length == _ENDED:
            whole = len(self._received) >= _END.size
            return _end_of(bytes(self._received[: _END.size])) if whole else None
        end = _LENGTH.size + length
        if len(self._received) < end:
            return None
        data = bytes(self._received[_LENGTH.size : end])
        del self._received[:end]
        return json.loads(data)


def send_end(connection: socket.socket, end: Closed) -> None:
    """Say how the process at this end has ended. Never waits: who does not read is not told."""
    status = _NO_STATUS if end.status is None else end.status
    data = _END.pack(_ENDED, status, end.out_of_memory)
    try:
        connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        connection.shutdown(socket.SHUT_RDWR)  # also where a process of the process has it open
    except OSError:
        return


def _readable(connection: socket.socket, wait_s: float | None) -> bool:
    """Wait until something, or the end, can be read; whether it can."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(None if wait_s is None else max(0.0, wait_s) * 1000))


def _end_of(data: bytes) -> Closed:
    """Return the end that these last bytes of a connection tell.

    It is found behind half a message, too, of a process that was ended as it spoke.
    """
    if len(data) != _END.size:
        return Closed()
    mark, status, out_of_memory = _END.unpack(data)
    if mark != _ENDED or status == _NO_STATUS:
        return Closed()
    return Closed(status, bool(out_of_memory))
