"""Finding runs by their tags, and closing one that nobody works on any more."""

from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities import Run

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
