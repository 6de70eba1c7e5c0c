"""``run_grid`` makes a grid's results exist; ``view_offline`` is the grid as its store knows it.

Here a grid file is checked and its cluster opened; what happens then is the driver's.
"""

import os
import uuid
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from orchestrator.costs.held import cost_in
from orchestrator.costs.machine import machine_of
from orchestrator.costs.room import lacking_bytes
from orchestrator.execution.launcher import Launcher
from orchestrator.grid.run_settings import Resources
from orchestrator.grid.schema import Grid, load_grid
from orchestrator.kept_grids.document import KeptGrid, kept_grid
from orchestrator.kept_grids.lookup import as_it_ran
from orchestrator.layouts.capacity import Capacity, describe_capacity, describe_needs, fits
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.share import within
from orchestrator.report.cost.amounts import bytes_text
from orchestrator.report.cost.tables import cost_line
from orchestrator.report.printing import console, print_line
from orchestrator.stages.resolve import (
    Resolved,
    resolve,
    resolve_offline,
    with_known_problems,
)
from orchestrator.store.claims import Ticket
from orchestrator.store.patience import in_words
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store
from orchestrator.views.grid_view import GridView
from orchestrator.views.measurements import Measurement, Selection, measurements
from orchestrator.watching import GridWatch
from trsp.errors import InvalidInputError


def view_offline(grid: Grid) -> GridView:
    """Return a grid as its store knows it, on the hardware it last ran on (see ``view_of``)."""
    return view_of(as_it_ran(resolve(grid)))


def view_of(resolved: Resolved) -> GridView:
    """Return a grid as its store knows it now, without a cluster, on its study's hardware.

    What a living driver works on counts as running, and what people have cancelled since the last
    run as killed. UnreachableError or StoreError where the store cannot be read.
    """
    return GridWatch(resolved).look().view


def measurements_of(resolved: Resolved) -> tuple[Measurement, ...]:
    """Return the measurements of a grid on its study's hardware, without a cluster.

    UnreachableError or StoreError where the store cannot be read.
    """
    with in_words(resolved.grid.storage.store):
        store = Store(resolved.grid.storage.store)
        return measurements(resolved, StoreResults(store))


def run_grid(
    path: Path,
    address: str | None = None,
    launcher: Launcher | None = None,
    measure_again: Selection | None = None,
) -> int:
    """Make every result of the grid exist, and anew the measurements of ``measure_again``.

    Return 0 when all cells are done, 1 when one failed, 130 or 143 when the grid was stopped by
    Ctrl-C or by SIGTERM.
    ``address``: of a Ray cluster; None starts a local Ray. ``launcher`` takes the place of Ray.
    Raises TrspError for bad input, an unwritable store or an absent tracking server, before any
    stage is started.
    """
    out = console()
    grid = load_grid(path)
    resolved = _resolve_checked(grid, str(path))
    preflight(grid)
    for note in resolved.expansion.notes:
        print_line(out, f"note: {note}")
    if launcher is None:
        print_line(out, _starting(address))
        launcher = _ray_launcher(grid.resources, address)
    with ExitStack() as until_driven:
        until_driven.callback(launcher.stop)
        require_capacity(launcher, grid.resources, path)
        resolved = resolved.measured_on(launcher.hardware())
        with in_words(grid.storage.store):
            store = _prepared_store(kept_grid(resolved, grid, path), resolved, measure_again)
            _foretell(resolved, store, launcher.potential(), out)
        from orchestrator.driver import Driver

        driver = Driver(resolved, store, launcher, out, str(path))
        until_driven.pop_all()
    return driver.run()


def _prepared_store(kept: KeptGrid, resolved: Resolved, measure_again: Selection | None) -> Store:
    """Return the grid's store, which keeps the grid now, without what is measured again."""
    store = Store(resolved.grid.storage.store)
    store.grids.save(resolved.key, kept.model_dump(mode="json"))
    if measure_again is not None:
        _forget_measurements(measure_again.of(measurements(resolved, StoreResults(store))), store)
    return store


def _foretell(resolved: Resolved, store: Store, potential: Capacity, out: Console) -> None:
    """Print what is left to do and costs, and a warning where the store's disk has no room."""
    cost = cost_in(store, resolved, machine_of(potential, resolved.grid.resources))
    print_line(out, f"left to do: {cost_line(cost)}")
    if lacking := lacking_bytes(cost, store):
        print_line(
            out,
            f"warning: the disk of {store.files.shown('')} lacks at least {bytes_text(lacking)} "
            "for what comes; free some, or give storage.store another place",
        )


def _forget_measurements(chosen: Iterable[Measurement], store: Store) -> None:
    """Delete the results of these measurements, so that the grid makes them again.

    One that another driver makes now is left to it.
    """
    owner = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    for each in chosen:
        if each.record is None:
            continue
        taken = store.claims.take(each.key, owner)
        if isinstance(taken, Ticket):
            store.stages.remove(each.key)
            store.claims.release(taken)


def _resolve_checked(grid: Grid, file: str) -> Resolved:
    """Return the grid looked up. InvalidInputError for all that can be known to fail.

    What is at hand is checked first, for that takes a second and hashing weights takes minutes;
    then whole texts, and the models whose configs came from the hub meanwhile.
    """
    resolve_offline(grid).expansion.require(file)
    resolved = with_known_problems(resolve(grid), characters=None)
    resolved.expansion.require(file)
    return resolved


def preflight(grid: Grid) -> None:
    """Raise StoreError or TrackingError unless the store can be written and MLflow answers."""
    from orchestrator.tracking.tracker import check

    Store(grid.storage.store).files.check_writable()
    check(grid.tracking.uri)


def _starting(address: str | None) -> str:
    """Return what is done now that takes seconds."""
    if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        return "joining Ray, as its job"
    return f"connecting to Ray at {address}" if address else "starting Ray on this machine"


def _ray_launcher(resources: Resources, address: str | None) -> Launcher:
    from orchestrator.ray_backend.ray_launcher import RayLauncher

    return RayLauncher(resources, address)


def require_capacity(launcher: Launcher, resources: Resources, path: Path) -> None:
    """Raise InvalidInputError where not even the smallest stage can fit.

    What the cluster can become decides, not what it has now.
    """
    smallest = Layout(cpus=resources.cpus_per_rank, gpus=int(resources.use_gpus is True))
    most = within(resources, launcher.potential()).in_all
    if fits(most, smallest):
        return
    share = "raise resources.share, " if resources.share else ""
    raise InvalidInputError(
        f"no stage fits on this cluster: one takes {describe_needs(smallest)}, and the largest "
        f"that the cluster can become has {describe_capacity(most)}; {share}lower "
        f"resources.cpus_per_rank or set resources.use_gpus: false in {path}; where nodes come "
        "when asked for, though Ray knows of no autoscaler, set resources.max_parallel"
    )
