"""Which checkpoints aliases in MLflow's registry mark."""

import re
from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from orchestrator.redact import HIDDEN, redact
from orchestrator.tracking.connection import FAILURES, connect, one_line, sqlite_path
from trsp.errors import TrackingError

_PAGE = 200  # registered models per answer
_KEY = re.compile(r"prune-[0-9a-f]{8,}")


def marked_checkpoints(uri: str) -> frozenset[str]:
    """Return the keys of the stages that made what aliases mark in the registry at ``uri``.

    TrackingError where the registry gives no answer. A database of another machine is none: a new
    one is not made in its place.
    """
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        raise TrackingError(f"no MLflow at {redact(uri)}: there is no such database here")
    if HIDDEN in uri:
        raise TrackingError(f"no MLflow at {redact(uri)}: its credentials are not kept")
    try:
        return frozenset(_marked(connect(uri)))
    except FAILURES as error:
        raise TrackingError(f"MLflow at {redact(uri)} fails ({one_line(error)})") from None


def _marked(client: MlflowClient) -> Iterator[str]:
    token: str | None = None
    while True:
        page = client.search_registered_models(max_results=_PAGE, page_token=token)
        for model in page:
            for number in {str(number) for number in model.aliases.values()}:
                yield from _keys(client.get_model_version(model.name, number))
        token = page.token
        if not token:
            return


def _keys(version: ModelVersion) -> list[str]:
    """Return the keys that a version names: by our tags, or by its source, as people write it."""
    tags = version.tags
    said = (version.source or "", tags.get("trsp.content", ""), tags.get("trsp.checkpoint", ""))
    return _KEY.findall(" ".join(said))
