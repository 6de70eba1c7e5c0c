"""The demo's own Ray head, which all tests that submit jobs share."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import local_ray
from tests.integration.ray_jobs import processes_of


def short_folder() -> Path:
    """Return a new name for the folder of a Ray, short because sockets live in it."""
    return Path("/tmp") / f"trsp-test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def temp_dir() -> Iterator[Path]:
    """A folder for a Ray of the test's own, which is ended afterwards."""
    folder = short_folder()
    yield folder
    local_ray.stop(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def head() -> Iterator[local_ray.RayHead]:
    """A head of two CPUs. Nothing of it may be left when its context ends."""
    folder = short_folder()
    try:
        with local_ray.local_ray(folder, num_cpus=2) as started:
            yield started
        assert not processes_of(folder), "all of a head goes away with it"
    finally:
        local_ray.stop(folder)
        shutil.rmtree(folder, ignore_errors=True)
