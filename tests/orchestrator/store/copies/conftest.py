"""A store on a real S3 API, and a cache of this test alone."""

from pathlib import Path

import pytest

from orchestrator.store.store import Store
from tests import s3_server as s3


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRSP_CACHE_DIR", str(tmp_path / "node"))
    return tmp_path / "node"


@pytest.fixture
def remote(s3_server: str) -> Store:
    port = int(s3_server.rpartition(":")[2])
    return Store(f"s3://{s3.new_bucket(port)}/a?{s3.options(port)}")
