"""A real S3 API in a process of its own, which keeps everything in memory. Knows no store."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from pyarrow import fs as pafs

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_DEFAULT_REGION": "us-east-1",
}


ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def s3_server(log: Path | None = None, counted: Path | None = None) -> Iterator[int]:
    """The port of an S3 API. ``log`` gets a line per request, with its method, path and status.

    ``counted`` gets the bytes of each (tests/counted_s3.py), ``log`` nothing then. Whoever reads
    or writes there needs CREDENTIALS in the environment.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    moto = ["moto.server", "-H", "127.0.0.1", "-p", str(port)]
    module = moto if counted is None else ["tests.counted_s3", str(port), str(counted)]
    with open(log or os.devnull, "wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=output,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/moto-api/")
        yield port
    finally:
        server.terminate()
        server.wait(timeout=10)


def new_bucket(port: int) -> str:
    """Make a bucket there; return its name."""
    bucket = f"bucket-{os.urandom(6).hex()}"
    address = f"s3://{bucket}/?{options(port)}"
    pafs.FileSystem.from_uri(address)[0].create_dir(bucket)
    return bucket


def options(port: int) -> str:
    """The query of an address of a bucket that is served there."""
    return f"endpoint_override=127.0.0.1:{port}&scheme=http&allow_bucket_creation=true"


def _wait_for(url: str, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
