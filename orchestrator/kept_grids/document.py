"""What a store keeps of a grid that was run there: all that its results can be read by.

With it, neither the grid's file nor its models and texts need be on the machine that looks. It
lies in ``grids/KEY.json``, as JSON without credentials. Knows no store.
"""

import getpass
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from orchestrator.grid.cells import ModelInfo
from orchestrator.grid.schema import Grid
from orchestrator.redact import redact, redact_tree
from orchestrator.stages.resolve import Resolved, resolved_of
from trsp.errors import StoreError

_MODELS: TypeAdapter[dict[str, ModelInfo]] = TypeAdapter(dict[str, ModelInfo])
# What a grid may change without asking for other results.
NOT_ASKED = frozenset({"storage", "tracking", "resources", "budgets"})


class KeptGrid(BaseModel):
    """What a store keeps of a grid, as of its last run.

    Of a grid that an older version of trsp has run, only ``name`` and ``hardware`` are known.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = ""
    hardware: str = ""  # that speed was measured on
    file: str = ""  # the name of the grid's file, without its folder
    text: str = ""  # of that file, without credentials
    asked: Mapping[str, Any] = {}  # ``asked_of`` the file's settings
    grid: Mapping[str, Any] = {}  # all settings, as they were resolved
    models: Mapping[str, Any] = {}  # by name, the fields of ``ModelInfo``
    text_fingerprints: Mapping[str, str] = {}
    benchmark_fingerprints: Mapping[str, Any] = {}
    by: str = ""  # who ran it: user@host
    started: float = 0.0  # the last run, in seconds since the epoch
    seen: float = 0.0  # when its driver last wrote here
    ended: float | None = None  # None while it runs, and where its driver was killed
    status: str = ""  # of the grid, as its driver saw it last
    reason: str = ""
    cancelled: Mapping[str, str] = {}  # why, by the keys of cells that people have cancelled
    cells: Mapping[str, int] = {}  # numbers of cells by their status, as its driver saw them last

    @property
    def is_whole(self) -> bool:
        """Whether the grid can be looked at without its file, models and texts."""
        return bool(self.grid)


def kept_grid(resolved: Resolved, asked: Grid, file: Path) -> KeptGrid:
    """Return what is to be kept of a grid that starts to run now.

    ``asked``: the settings of the ``file``, before anything was looked up.
    """
    study = resolved.study
    text = ""
    with suppress(OSError, UnicodeDecodeError):
        text = redact(file.read_text(encoding="utf-8"))
    return KeptGrid(
        name=resolved.grid.name,
        hardware=study.hardware,
        file=file.name,
        text=text,
        asked=asked_of(asked),
        grid=_settings(resolved.grid),
        models=_MODELS.dump_python(dict(resolved.models), mode="json"),
        text_fingerprints=dict(study.text_fingerprints),
        benchmark_fingerprints=dict(study.benchmark_fingerprints),
        by=user_at_host(),
        started=time.time(),
        seen=time.time(),
        status="running",
        cells={"waiting": len(resolved.cells)},
    )


def _settings(grid: Grid) -> dict[str, Any]:
    """Return all settings as JSON, such that they read as the same grid, without credentials.

    A measurement and a pattern of combinations mean what was written: there, defaults stay out.
    """
    written = {"measurement", "include", "exclude"}
    given = grid.model_dump(mode="json", include=written, exclude_unset=True)
    settings: dict[str, Any] = redact_tree(grid.model_dump(mode="json", exclude=written) | given)
    return settings


def resolved_from(kept: KeptGrid, key: str, store: str) -> Resolved:
    """Return the grid that was kept under ``key``, with its results in ``store``, where it is read.

    StoreError where it says too little, or this version of trsp reads it as something else.
    """
    if not kept.is_whole:
        raise StoreError(
            f"grid {kept.name!r} ({key}) was run by a version of trsp that kept no more than its "
            "name; give its file in place of its name, or run that once more"
        )
    try:
        storage = {**kept.grid["storage"], "store": store}
        grid = Grid.model_validate({**kept.grid, "storage": storage})
        models = _MODELS.validate_python(kept.models)
    except (ValidationError, KeyError) as error:
        raise _of_another_version(kept, key) from error
    resolved = resolved_of(
        grid, models, kept.hardware, kept.text_fingerprints, kept.benchmark_fingerprints
    )
    if resolved.key != key:
        raise _of_another_version(kept, key)
    return resolved


def _of_another_version(kept: KeptGrid, key: str) -> StoreError:
    return StoreError(
        f"grid {kept.name!r} ({key}) was kept by another version of trsp, and this one cannot tell "
        "what its settings mean; give its file in place of its name"
    )


def cancelled_in(document: Mapping[str, Any]) -> dict[str, str]:
    """Return why cells were cancelled, by their keys, as a grid's document says; empty for none."""
    cancelled = document.get("cancelled")
    return {str(key): str(why) for key, why in cancelled.items()} if cancelled else {}


def asked_of(grid: Grid) -> dict[str, Any]:
    """Return what a grid file asks for, wherever its models and texts lie, as JSON.

    Of absolute paths only the last part counts: they differ from one machine to another. Of budgets
    their limits count where ratios follow them.
    """
    settings = grid.model_dump(mode="json", exclude=set(NOT_ASKED))
    asked: dict[str, Any] = _without_folders(redact_tree(settings))
    limits = [budget.limits for budget in grid.budgets]
    return {**asked, "budgets": limits} if grid.follows_budgets else asked


def _without_folders(value: Any, key: str = "") -> Any:
    """Return nested settings with the folders of absolute ``path``, ``source`` and ``data`` cut."""
    if isinstance(value, dict):
        return {name: _without_folders(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item, key) for item in value]
    is_place = isinstance(value, str) and key in {"path", "source", "data"}
    return Path(value).name if is_place and value.startswith(("/", "~", ".")) else value


def user_at_host() -> str:
    """Return who runs this process, and where: ``ada@node-1``."""
    user = "somebody"
    with suppress(OSError, KeyError):  # a container's user need not have a name
        user = getpass.getuser()
    return f"{user}@{socket.gethostname()}"
