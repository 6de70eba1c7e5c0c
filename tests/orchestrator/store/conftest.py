"""A store on a local folder (with a blank in its path), and one on a real S3 API."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import fs as pafs

from orchestrator.store.store import Store


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Host and port of an S3 API that keeps everything in memory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    credentials = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with pytest.MonkeyPatch.context() as environment:
        for name, value in (credentials | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
            environment.setenv(name, value)
        try:
            _wait_for(f"http://127.0.0.1:{port}/moto-api/")
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=10)


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


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(str(tmp_path / "a store"))
    address = request.getfixturevalue("s3_server")
    options = f"endpoint_override={address}&scheme=http&allow_bucket_creation=true"
    bucket = f"bucket-{os.urandom(6).hex()}"
    pafs.FileSystem.from_uri(f"s3://{bucket}/?{options}")[0].create_dir(bucket)
    return Store(f"s3://{bucket}/a/prefix?{options}")


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "a store"))
