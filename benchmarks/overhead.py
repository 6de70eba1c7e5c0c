"""What a stage costs beside its work, and what a trial of Ray Tune does, on the same local Ray.

    python -m benchmarks.overhead [--cells 200 --cells 1000] [--trials 200] [--cpus 2] [--profile]

A grid of so many cells goes through the real controller, Ray launcher and store; each cell has a
ranking, a pruning and an evaluation of its own. Its stages are made up. They compute nothing, or
load a tiny model and do one forward; each in a fresh process, or one after the other in processes
that are used again. So do the trials of Ray Tune: in a fresh process each, as is its default, or
with ``reuse_actors``. MLflow and the terminal are left out of both. Seconds are per stage and per
trial, over the whole run from the first to the last, ``--cpus`` at a time.
"""

import argparse
import cProfile
import logging
import os
import pstats
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray import tune

from benchmarks.made_up_grid import model_info
from benchmarks.overhead_stages import one_rank, trial
from orchestrator.grid.cells import Study, text_id
from orchestrator.grid.expand import expand
from orchestrator.grid.schema import Grid
from orchestrator.ray_backend import ray_launcher
from orchestrator.ray_backend.ray_launcher import RayLauncher
from orchestrator.scheduler.controller import Controller
from orchestrator.stages.resolve import Resolved
from orchestrator.store.store import Store
from orchestrator.views.grid_view import SETTLED, Status
from tests.tiny import save_tiny
from trsp.config import MeasurementSettings

STAGES_PER_CELL = 3
WIDTH = 128
STEP_WAIT_S = 0.5  # as the driver waits
WORK = ("nothing", "tiny model")


def grid_of(cells: int, uri: str) -> Resolved:
    """Return a grid of so many cells, none of which shares a stage with another."""
    text = {"name": "wiki", "path": "/texts/wiki.jsonl"}
    grid = Grid.model_validate(
        {
            "name": "overhead",
            "models": [{"name": "m", "source": "/models/m"}],
            "calibration": {"text": text, "blocks": 8, "block_tokens": 32},
            "evaluation": {"perplexity": [{"text": text, "window_tokens": 32}]},
            "ratios": [0.05],
            "selectors": "random",
            "transfer": "none",
            "seeds": list(range(cells)),
            "measurement": {"protocol": "none"},
            "storage": {"store": uri},
            "resources": {"cpus_per_rank": 1},
        }
    )
    texts = {text_id(grid.calibration.text): "sha256:wiki"}
    measurement = MeasurementSettings.model_validate({"protocol": "none"})
    study = Study(grid.calibration, grid.evaluation, measurement, "auto", "cpu", texts)
    models = {"m": model_info("m", WIDTH)}
    return Resolved(grid, models, study, expand(grid, models))


def seconds_per_stage(cells: int, folder: Path, model: str, reuse: bool) -> tuple[float, float]:
    """Run a grid of made-up stages to its end.

    Returns the seconds per stage, and those of the driver's own work among them.
    """
    resolved = grid_of(cells, str(folder / f"store-{time.time_ns()}"))
    ray_launcher.run_one_rank = one_rank(model, reuse)
    launcher = RayLauncher(resolved.grid.resources)
    begun, worked = time.perf_counter(), time.process_time()
    controller = Controller(resolved, Store(resolved.grid.storage.store), launcher)
    while (view := controller.step(STEP_WAIT_S)).status not in SETTLED:
        pass
    seconds, work = time.perf_counter() - begun, time.process_time() - worked
    assert view.status is Status.DONE, view.status
    controller.close()
    launcher.stop()
    stages = STAGES_PER_CELL * cells
    return seconds / stages, work / stages


def seconds_per_trial(trials: int, folder: Path, model: str, reuse: bool) -> float:
    """Run trials of Ray Tune to their end; return the seconds per trial."""
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={"model": model, "number": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(reuse_actors=reuse),
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0),
    )
    begun = time.perf_counter()
    results = tuner.fit()
    seconds = time.perf_counter() - begun
    assert results.num_errors == 0
    assert len(results) == trials
    return seconds / trials


@contextmanager
def profiled(wanted: bool) -> Iterator[None]:
    """Print, if that is wanted, where this process spent its time meanwhile."""
    if not wanted:
        yield
        return
    with cProfile.Profile() as profile:
        yield
    pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


def compare(
    cells: int, trials: int, folder: Path, model: str, reuse: bool, profile: bool
) -> tuple[float, float, float]:
    """Return seconds per stage, those of the driver among them, and seconds per trial."""
    seconds_per_stage(2, folder, model, reuse)  # the fork server has imported, and learned
    with profiled(profile):
        ours = seconds_per_stage(cells, folder, model, reuse)
    tunes = seconds_per_trial(trials, folder, model, reuse) if trials else float("nan")
    return *ours, tunes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, action="append")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    ray.init(
        "local", num_cpus=asked.cpus, include_dashboard=False, log_to_driver=False,
        object_store_memory=10**8,
    )  # fmt: skip
    print(
        "cells | stages do  | processes  | s per stage | driver's CPU s | s per trial | ratio",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = {"nothing": "", "tiny model": str(save_tiny("llama", folder / "tiny"))}
        for cells in asked.cells or [200, 1000]:
            for reuse in (False, True):
                for work in WORK:
                    ours, driver, tunes = compare(
                        cells, asked.trials, folder, models[work], reuse, asked.profile
                    )
                    kind = "used again" if reuse else "fresh"
                    row = f"{cells:5} | {work:10} | {kind:10} | {ours:11.4f} | {driver:14.4f}"
                    print(f"{row} | {tunes:11.4f} | {ours / tunes:5.2f}", flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
