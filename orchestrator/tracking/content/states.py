"""What an MLflow run says, as plain data. Pure; knows neither MLflow nor where the data comes from.

Curves only ever grow, so a writer needs to remember no more than how many of their points it has
written.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from orchestrator.tracking.content.run_tables import Table
from orchestrator.tracking.content.values import digest
from orchestrator.views.grid_view import Status


@dataclass(frozen=True)
class Point:
    """One point of a curve. ``at_s``: seconds of work before it, for a chart's time axis."""

    step: int
    value: float
    at_s: float = 0.0


Curves = dict[str, tuple[Point, ...]]
RUN_ID = "(RUN_ID)"  # in a note it stands for that of the run, which is known when it is written


@dataclass(frozen=True)
class Artifact:
    """A file of a run, at ``path`` among its artifacts; written again when its version changes.

    ``version`` is asked for only where the file may be written now: a large table's takes as long
    as the table.
    """

    path: str
    version: Callable[[], str]
    write: Callable[[Path], None]
    is_table: bool = False


@dataclass(frozen=True)
class ModelState:
    """The pruned checkpoint of a cell.

    ``scores``: which of the run's finals are its own. ``texts``: the digests of the evaluation's
    texts, by name.
    """

    source_model: str
    cell: str  # the cell's key
    name: str
    uri: str
    content: str  # key of the stage that made it
    scores: tuple[str, ...]
    texts: Mapping[str, str]
    note: str


@dataclass(frozen=True)
class RunState:
    """All that one run says. Of ``tags``, empty ones are not written, and removed where they were.

    ``finals`` are metrics with one value each, written in their order; ``curves`` are metrics with
    many. ``note`` may hold ``RUN_ID``. ``began`` and ``ended``: of its work, in seconds since the
    epoch; None: as it is written.
    """

    kind: str
    key: str
    name: str
    status: Status
    reason: str
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    finals: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    note: str = ""
    model: ModelState | None = None
    began: float | None = None
    ended: float | None = None


def table_artifact(path: str, table: Callable[[], Table], version: str | None = None) -> Artifact:
    """Return an artifact that MLflow shows as a table, which is made when it is needed.

    ``version``: by default a digest of the table.
    """
    once = cache(table)
    known = partial(_table_digest, once) if version is None else partial(str, version)
    return Artifact(path, known, lambda target: once().write(target), is_table=True)


def json_artifact(path: str, value: Any, version: str) -> Artifact:
    """Return an artifact that holds the value as JSON; what JSON cannot say becomes text."""
    return Artifact(path, partial(str, version), lambda target: _write_json(target, value))


def _table_digest(table: Callable[[], Table]) -> str:
    return digest([table().columns, table().rows])


def _write_json(target: Path, value: Any) -> None:
    target.write_text(json.dumps(value, indent=2, default=str), encoding="utf-8")
