"""What every test shares: a home folder of its own, no network, one thread, tiny models on disk.

And what some share because it is slow to start: one MLflow server.
"""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.mlflow_server import TrackingServer

SHARE_SERVERS = ("browser/", "integration/", "orchestrator/tracking/")
SHARE_CLUSTERS = "integration/gangs/"
OWN_CLUSTERS = tuple(
    f"integration/test_{name}.py" for name in ("growing_cluster", "run", "unfinished_runs")
)
# What takes longest is begun first, so that no process is left alone with it at the end.
LONGEST = (
    OWN_CLUSTERS[0],
    *SHARE_SERVERS,
    SHARE_CLUSTERS,
    "integration/",
    "orchestrator/execution/",
    "orchestrator/processes/",
    "trsp/training/",
    "trsp/engine/",
    "trsp/architecture/test_families.py",
    "trsp/",
    "orchestrator/scheduler/test_real_stages.py",
    "orchestrator/test_driver.py",
)
MEMORY = Path("/dev/shm")
_HOME = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is imported that reads the environment.

    A local Ray writes an authentication token to the home folder, which changes every later Ray of
    that user: hence a throw-away home, and authentication off within the tests. What DeepSpeed
    compiles is kept: it takes 20 s to make again.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    if sys.dont_write_bytecode:
        _keep_bytecode(cache / "trsp-tests" / "bytecode")
    extensions = cache / "torch_extensions"
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and _is_roomy(MEMORY):
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)
    home = tempfile.mkdtemp(prefix="trsp-test-home-")
    config.stash[_HOME] = home
    os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(extensions))
    os.environ.update(
        HOME=home,
        HF_HOME=f"{home}/huggingface",
        HF_HUB_OFFLINE="1",
        RAY_AUTH_MODE="disabled",
        TOKENIZERS_PARALLELISM="false",
        TRSP_LOCK_DIR=f"{home}/locks",  # tests beside this one do not wait for its measurements
        TRSP_CACHE_DIR=home,
    )
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _is_roomy(folder: Path) -> bool:
    """Whether the tests' files (0.2 GB) fit there several times over.

    In memory nothing waits for a disk: each of the thousands of writes to an MLflow database does.
    """
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 4 * 2**30


def _keep_bytecode(folder: Path) -> None:
    """Let this process and all that it starts keep compiled modules, in ``folder``.

    Where Python is told to write no bytecode, as in many containers, each of a hundred processes
    would compile torch and transformers anew, which doubles the time of the tests.
    """
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(folder)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Keep what collecting the tests has loaded out of every later garbage collection.

    These are millions of objects that stay to the end. DeepSpeed collects all garbage whenever it
    begins ZeRO-3, which looked at each of them again, for half a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _scope(nodeid: str) -> str:
    """Return what a test shares its process with: models and trainings, servers, or clusters."""
    file = nodeid.partition("::")[0].removeprefix("tests/")
    if file.startswith(SHARE_CLUSTERS):
        return SHARE_CLUSTERS
    if file in OWN_CLUSTERS or not file.startswith(SHARE_SERVERS):
        return file
    return SHARE_SERVERS[0]


def _turn(item: pytest.Item) -> int:
    """Return the place in ``LONGEST`` of what a test shares its process with."""
    scope = _scope(item.nodeid)
    return next((i for i, long in enumerate(LONGEST) if scope.startswith(long)), len(LONGEST))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Say which tests belong in one process, where several share the work (``-n 2``).

    A file's tests share models and trainings; those of three folders, a tracking server and a
    browser; those of gangs, clusters.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _scope(nodeid)

    config.option.loadscopereorder = False  # by the number of tests, which says little
    return ByFile(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_HOME], ignore_errors=True)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a llama of 6 layers, float32, with its tokenizer. Read only."""
    from tests.tiny import save_tiny

    return save_tiny("llama", tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .jsonl of 64 documents, about 30000 tokens of the tiny tokenizer. Read only."""
    from tests.tiny import tiny_text

    return tiny_text(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An MLflow database without runs, to be copied: making its tables takes seconds.

    From then on a grid's end in this process does not wait 2 s before it reads MLflow once more:
    nobody else writes to a copy.
    """
    from orchestrator.tracking import tracker

    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    tracker.check(f"sqlite:///{path}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracker, "FINISH_PAUSE_S", 0.01)
        yield path


@pytest.fixture(scope="session")
def tracking_server(
    empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["TrackingServer"]:
    """One MLflow server for all tests: each takes its own experiment and empties the registry."""
    from tests.mlflow_server import TrackingServer, mlflow_server

    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder / "mlflow.db")
    database = f"sqlite:///{folder}/mlflow.db"
    with mlflow_server(database, folder) as url:
        yield TrackingServer(url, database)
