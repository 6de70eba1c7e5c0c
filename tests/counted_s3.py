"""A real S3 API in memory that notes the bytes of every request: what moves, and for what.

    python -m tests.counted_s3 PORT FILE

``FILE`` gets a line of JSON per request, as ``Request`` has it. Knows no store.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Request:
    """One request: bytes of bodies, without headers."""

    method: str
    path: str  # with the bucket
    written_bytes: int  # of what the store was sent
    read_bytes: int  # of what it answered


def requests_in(file: Path) -> list[Request]:
    """Return the requests so far."""
    return [Request(**json.loads(line)) for line in file.read_text().splitlines()]


class _CountedBody:
    """The body of a request, as far as the application reads it."""

    def __init__(self, body: Any) -> None:
        self._body, self.bytes = body, 0

    def read(self, *size: int) -> bytes:
        return self._counted(self._body.read(*size))

    def readline(self, *size: int) -> bytes:
        return self._counted(self._body.readline(*size))

    def _counted(self, data: bytes) -> bytes:
        self.bytes += len(data)
        return data


class _Counted:
    """An application of WSGI whose requests are noted in a file."""

    def __init__(self, app: Callable[..., Iterable[bytes]], file: Path) -> None:
        self._app, self._file = app, file

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        """Answer a request, once it is noted: who has the answer finds it in the file."""
        body = environ["wsgi.input"] = _CountedBody(environ["wsgi.input"])
        answer = list(self._app(environ, start))
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        request = Request(method, path, body.bytes, sum(map(len, answer)))
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(request)) + "\n")
        return answer


def main(port: int, file: Path) -> None:
    """Serve until this process is ended."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    file.touch()
    app = _Counted(DomainDispatcherApplication(create_backend_app), file)
    run_simple(HOST, port, app, threaded=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
