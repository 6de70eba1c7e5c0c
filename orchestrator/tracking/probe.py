"""One run written to the tracking server, read back and taken away again, and what that took."""

import contextlib
import time
from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities import ViewType

from orchestrator.redact import redact
from orchestrator.tracking.connection import CURE, FAILURES, connect, one_line
from trsp.errors import TrackingError

EXPERIMENT = "trsp-doctor"  # exists while it is used; deleted experiments keep their names
_VALUE = 0.5


def use_tracking(uri: str) -> dict[str, float]:
    """Return the seconds that each operation took, by its name.

    TrackingError where the server is away, refuses us, or gives back something else.
    """
    seconds: dict[str, float] = {}
    with _timed("connect", seconds):
        client = connect(uri)
    try:
        experiment_id = _experiment(client)
        try:
            _write_and_read(client, experiment_id, seconds)
        finally:
            client.delete_experiment(experiment_id)
    except FAILURES as error:
        raise TrackingError(f"MLflow at {redact(uri)}: {one_line(error)}; {CURE}") from None
    return seconds


def _write_and_read(client: MlflowClient, experiment_id: str, seconds: dict[str, float]) -> None:
    """Write a run with a metric, read it back, and delete it."""
    with _timed("create a run", seconds):
        run_id = client.create_run(experiment_id, run_name="doctor").info.run_id
    try:
        with _timed("write", seconds):
            client.log_metric(run_id, "doctor", _VALUE)
        with _timed("read", seconds):
            found = client.get_run(run_id).data.metrics.get("doctor")
    finally:
        client.delete_run(run_id)
    if found != _VALUE:
        raise TrackingError(f"it gave back {found} for a metric of {_VALUE}")


def _experiment(client: MlflowClient) -> str:
    """Return the id of our own experiment, made or made visible again."""
    known = client.search_experiments(
        ViewType.ALL, max_results=1, filter_string=f"name = '{EXPERIMENT}'"
    )
    if not known:
        return str(client.create_experiment(EXPERIMENT))
    if known[0].lifecycle_stage == "deleted":
        client.restore_experiment(known[0].experiment_id)
    return str(known[0].experiment_id)


@contextlib.contextmanager
def _timed(operation: str, seconds: dict[str, float]) -> Iterator[None]:
    """Note how long the operation took, unless it fails."""
    begun = time.perf_counter()
    yield
    seconds[operation] = time.perf_counter() - begun
