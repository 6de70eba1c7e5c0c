"""A store on a local folder (with a blank in its path), and one on a real S3 API."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store.store import Store
from tests import s3_server as s3


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Host and port of an S3 API that keeps everything in memory."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in s3.CREDENTIALS.items():
            environment.setenv(name, value)
        with s3.s3_server() as port:
            yield f"127.0.0.1:{port}"


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(str(tmp_path / "a store"))
    port = int(request.getfixturevalue("s3_server").rpartition(":")[2])
    return Store(f"s3://{s3.new_bucket(port)}/a/prefix?{s3.options(port)}")


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "a store"))
