"""Which page of MLflow shows a grid: found by the grid's name, without its models or texts."""

from orchestrator.tracking.connection import FAILURES, connect, one_line
from orchestrator.tracking.content.leaderboard import leaderboard_url
from trsp.errors import TrackingError


def grid_page(uri: str, experiment: str, name: str, base: str) -> str | None:
    """Return the link of the leaderboard of the newest grid of that name; None where there is none.

    ``base``: the address of MLflow's pages. TrackingError where MLflow does not answer.
    """
    client = connect(uri)
    quoted = name.replace("'", "")
    try:
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return None
        runs = client.search_runs(
            [found.experiment_id],
            f"tags.`trsp.kind` = 'grid' AND attributes.run_name = '{quoted}'",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
    except FAILURES as error:
        raise TrackingError(f"cannot look for grid {name!r}: {one_line(error)}") from None
    if not runs:
        return None
    return leaderboard_url(base, found.experiment_id, runs[0].data.tags["trsp.grid"])
