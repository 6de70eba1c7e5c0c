"""Finding runs by their tags, and closing those that nobody works on any more."""

import time
from collections.abc import Collection, Iterator

from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.tracking.written_run import HEARTBEAT

OPEN = ("RUNNING", "SCHEDULED")
PAGE = 500  # runs per answer of a search


def of_grid(key: str) -> str:
    """Return MLflow's search string for the runs of a grid."""
    return f"tags.`trsp.grid` = '{key}'"


def search_runs(client: MlflowClient, experiment_id: str, query: str) -> Iterator[Run]:
    """Yield every run that a query finds, oldest first."""
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment_id], query, max_results=PAGE, order_by=["start_time ASC"], page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def kill(client: MlflowClient, run_id: str, reason: str) -> None:
    """Close a run as KILLED for that reason."""
    client.set_tag(run_id, "trsp.reason", reason)
    client.set_terminated(run_id, status="KILLED")


def close_orphans(
    client: MlflowClient, experiment_id: str, alive_grids: Collection[str], silent_s: float
) -> int:
    """Close the open runs of grids not heard of for ``silent_s`` seconds; return how many.

    Grids of ``alive_grids`` (keys) live whatever was heard of them.
    """
    open_runs = [run for run in _open_runs(client, experiment_id) if "trsp.grid" in run.data.tags]
    grids = {run.data.tags["trsp.grid"] for run in open_runs} - set(alive_grids)
    dead = {
        grid
        for grid in grids
        if time.time() - _last_heartbeat(client, experiment_id, grid) > silent_s
    }
    orphans = [run for run in open_runs if run.data.tags["trsp.grid"] in dead]
    for run in orphans:
        kill(client, run.info.run_id, "its job was killed")
    return len(orphans)


def _open_runs(client: MlflowClient, experiment_id: str) -> Iterator[Run]:
    """Every run of any grid that is not closed."""
    for status in OPEN:
        yield from search_runs(client, experiment_id, f"attributes.status = '{status}'")


def _last_heartbeat(client: MlflowClient, experiment_id: str, grid: str) -> float:
    """When a grid's driver was last alive, in seconds since the epoch; 0 if it never said."""
    runs = search_runs(client, experiment_id, f"tags.`trsp.kind` = 'grid' AND {of_grid(grid)}")
    return max((float(run.data.tags.get(HEARTBEAT, 0)) for run in runs), default=0.0)
