"""Stores of made-up results of real grids, as old as they need be."""

import os
import shutil
import time
from pathlib import Path

from orchestrator.keeping.survey import Asked, Survey, survey
from orchestrator.kept_grids.document import kept_grid
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.store import Store
from tests.orchestrator.fake_launcher import FakeLauncher, controller_of, drive, one_cell, store_of

DAY_S = 86400.0


def made(folder: Path, age_s: float = DAY_S, **changes: object) -> Resolved:
    """A kept grid whose results are all in the store below ``folder``, and as old as that."""
    tracking = {"uri": f"sqlite:///{folder}/mlflow.db"}
    grid = one_cell(folder, **({"tracking": tracking} | changes))
    keep(grid)
    drive(controller_of(grid, FakeLauncher()))
    age(store_of(grid), age_s)
    return grid


def keep(grid: Resolved) -> None:
    """Let the store keep the grid, as a run does."""
    document = kept_grid(grid, grid.grid, Path("g.yaml")).model_dump(mode="json")
    store_of(grid).grids.save(grid.key, document)


def two_made(folder: Path, database: Path) -> tuple[Resolved, Resolved]:
    """Two grids of one cell each and a registry without aliases; the first is no longer kept."""
    shutil.copy(database, folder / "mlflow.db")
    gone, kept = made(folder), made(folder, ratios=[0.5], gate_l1=1e-2, name="kept")
    store_of(gone).files.remove_file(f"grids/{gone.key}.json")
    return gone, kept


def age(store: Store, age_s: float = DAY_S) -> None:
    """Let all that lies in the store's stages be so old."""
    then = time.time() - age_s
    for path in store.files.local_path("stages").rglob("*"):
        os.utime(path, (then, then))


def stages(store: Store, kind: StageKind) -> list[str]:
    """The keys of the stages of this kind that hold a file beside their log of claims."""
    paths = store.files.tree(f"stages/{kind}")
    return sorted({path.partition("/")[0] for path in paths if "/claims/" not in path})


def looked(grid: Resolved, asked: Asked | None = None) -> Survey:
    """What nobody needs of the grid's store."""
    return survey(store_of(grid), asked or Asked())
