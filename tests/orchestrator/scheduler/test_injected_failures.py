"""Failures injected into real stages of a tiny model, run in this process by the controller."""

import resource
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from orchestrator.execution.launcher import InProcessLauncher
from orchestrator.grid.schema import load_grid
from orchestrator.stages.resolve import Resolved, resolve
from orchestrator.store.failures import FailureKind
from orchestrator.store.store import Store
from orchestrator.views.grid_view import CellView, GridView, Status
from tests.orchestrator.fake_launcher import controller_of, drive
from tests.tiny import save_tiny
from tests.tiny_grid import tiny_grid
from trsp.config import EngineSettings
from trsp.engine.engine import Engine
from trsp.errors import TrainingDivergedError
from trsp.records import TransferRecord

STEPS = 6
TRAINING = {"name": "drift", "steps": STEPS, "blocks_per_step": 4, "learning_rate": 1e-3}
QUICK = {
    "selectors": "reverse",
    "measurement": {"protocol": "none"},
    "resources": {"snapshot_every_steps": 1},
}


@pytest.fixture
def make_grid(tmp_path: Path, tiny_llama: Path, text_file: Path) -> Callable[..., Resolved]:
    """A grid in a folder of its own: ``make_grid("name", transfer=...)``."""

    def make(name: str, **changes: Any) -> Resolved:
        return resolve(
            load_grid(tiny_grid(tmp_path / name, tiny_llama, text_file, **(QUICK | changes))),
            hardware="cpu",
        )

    return make


def run(grid: Resolved) -> GridView:
    return drive(controller_of(grid, InProcessLauncher()))


class Injected:
    """Stands before every optimizer step, and may fail it.

    ``before(engine settings, full learning rate, steps done in this process)`` may raise.
    """

    def __init__(
        self, patch: pytest.MonkeyPatch, before: Callable[[EngineSettings, float, int], None]
    ) -> None:
        # micro-batch and activation checkpointing of every step done
        self.done: list[tuple[int, bool]] = []
        begin, step = Engine.__init__, Engine.step
        settings: dict[int, EngineSettings] = {}

        def noting(
            engine: Engine, model: Any, given: EngineSettings, *args: Any, **kwargs: Any
        ) -> None:
            begin(engine, model, given, *args, **kwargs)
            settings[id(engine)] = given

        def injected(engine: Engine, *args: Any, **kwargs: Any) -> Any:
            given, optimizer = settings[id(engine)], engine._optimizer_config
            before(given, optimizer.learning_rate if optimizer else 0.0, len(self.done))
            losses = step(engine, *args, **kwargs)
            self.done.append((given.micro_batch, given.activation_checkpointing))
            return losses

        patch.setattr(Engine, "__init__", noting)
        patch.setattr(Engine, "step", injected)


def weights(cell: CellView) -> dict[str, torch.Tensor]:
    assert cell.checkpoint_uri is not None
    return load_file(Path(cell.checkpoint_uri) / "model.safetensors")


# --- memory ------------------------------------------------------------------


@pytest.mark.slow
def test_out_of_memory_climbs_the_ladder_and_repeats_no_step(
    make_grid: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too much from the third step on, for micro-batches of 4, 2 and (without checkpointing) 1.

    Two cells share one ladder.
    """
    changes = {"transfer": TRAINING, "engine": {"micro_batch": 4}}
    undisturbed = run(make_grid("undisturbed", **changes))

    def too_much(given: EngineSettings, rate: float, done: int) -> None:
        allowed = {4: 2, 2: 3, 1: 4}[given.micro_batch]
        if done >= allowed and not given.activation_checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    injected = Injected(monkeypatch, too_much)
    grid = make_grid("disturbed", **changes)
    view = run(grid)
    assert view.status is Status.DONE
    assert injected.done[:STEPS] == [(4, False)] * 2 + [(2, False), (1, False)] + [(1, True)] * 2, (
        "6 steps in all"
    )
    assert injected.done[STEPS:] == [(1, True)] * STEPS, (
        "the next cell starts where the ladder ended"
    )
    for was, now in zip(undisturbed.cells, view.cells, strict=True):
        for name, tensor in weights(was).items():
            torch.testing.assert_close(weights(now)[name], tensor, rtol=1e-5, atol=1e-7)
    store = Store(grid.grid.storage.store)
    (key,) = [
        cell.stage_keys["transfer"]
        for cell in view.cells
        if store.failures.history(cell.stage_keys["transfer"])
    ]
    failures = store.failures.history(key)
    assert [failure.kind for failure in failures] == [FailureKind.OUT_OF_MEMORY] * 3
    assert [failure.layout["engine"]["micro_batch"] for failure in failures] == [4, 2, 1]
    assert "Traceback" in failures[0].details


# --- divergence --------------------------------------------------------------


@pytest.mark.slow
def test_a_loss_that_becomes_infinite_fails_its_cell_alone(
    make_grid: Callable[..., Resolved],
) -> None:
    wild_training = {"name": "heal", "steps": STEPS, "blocks_per_step": 4, "learning_rate": 1e18}
    grid = make_grid("grid", transfer=[TRAINING, wild_training], ratios=0.2)
    view = run(grid)
    fine, wild = sorted(view.cells, key=lambda cell: cell.cell.transfer.name)
    assert fine.status is Status.DONE
    assert (wild.status, wild.stage) == (Status.FAILED, "transfer")
    assert wild.reason.startswith("TrainingDivergedError: step 2: the LM loss became nan")
    assert wild.reason.endswith(", also at 0.5 of the learning rate")
    failures = Store(grid.grid.storage.store).failures.history(wild.stage_keys["transfer"])
    assert [failure.kind for failure in failures] == [FailureKind.DIVERGED] * 2


@pytest.mark.slow
def test_a_gradient_that_becomes_infinite_is_not_left_out_in_silence(
    make_grid: Callable[..., Resolved],
) -> None:
    """DeepSpeed would go on without a step, and hand back the weights as they came."""
    (cell,) = run(
        make_grid("grid", transfer=TRAINING, drift=1e38, ratios=0.2, engine={"zero_stage": 2})
    ).cells
    assert (cell.status, cell.stage) == (Status.FAILED, "transfer")
    assert "the norm of the gradient inf" in cell.reason


@pytest.mark.slow
def test_what_a_lower_rate_saves_says_so_and_begins_anew(
    make_grid: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wild(given: EngineSettings, rate: float, done: int) -> None:
        if rate == TRAINING["learning_rate"] and done == 2:
            raise TrainingDivergedError("the loss is nan")

    injected = Injected(monkeypatch, wild)
    view = run(make_grid("grid", transfer=TRAINING, ratios=0.2))
    assert view.status is Status.DONE
    assert len(injected.done) == 2 + STEPS
    record = view.cells[0].transfer
    assert isinstance(record, TransferRecord)
    assert record.rate_scale == 0.5
    assert len(record.lm_loss) == STEPS


# --- a full disk -------------------------------------------------------------

BETWEEN = 260_000  # bytes: a checkpoint of 4 layers has 165_000, one of 10 layers 360_000
OTHER_FILES = 120_000  # bytes, at least as many as the small files of a cell and its reference take


@contextmanager
def small_file_limit(folder: Path) -> Iterator[None]:
    """No file may be larger: what every file system does, here without rights to mount one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BETWEEN, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A tmpfs, where we may mount one."""
    folder.mkdir(parents=True)
    mount = shutil.which("mount")
    command = [
        mount or "mount",
        "-t",
        "tmpfs",
        "-o",
        f"size={BETWEEN + OTHER_FILES}",
        "tmpfs",
        str(folder),
    ]
    if mount is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no right to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("limit", [small_file_limit, small_disk])
def test_a_full_disk_fails_the_cells_that_do_not_fit(
    text_file: Path, tmp_path: Path, limit: Callable[[Path], Any]
) -> None:
    model = save_tiny("llama", tmp_path / "tall", layers=12)
    changes = {"ratios": [0.16, 0.67], "storage": {"store": str(tmp_path / "small")}}
    file = tiny_grid(tmp_path, model, text_file, **(QUICK | {"transfer": "none"} | changes))
    grid = resolve(load_grid(file), hardware="cpu")
    with limit(tmp_path / "small"):
        view = run(grid)
        large, small = sorted(view.cells, key=lambda cell: cell.cell.ratio)
        assert (small.status, view.dense[0].status) == (Status.DONE, Status.DONE)
        assert (large.status, large.stage) == (Status.FAILED, "prune")
        failures = Store(grid.grid.storage.store).failures.history(large.stage_keys["prune"])
        assert [failure.kind for failure in failures] == [FailureKind.DISK_FULL] * 2, failures
        assert large.reason == failures[-1].line
        left = Counter(
            path.name.partition("-")[0] for path in (tmp_path / "small").rglob("prune-*/*")
        )
        assert left["files"] == 1, "what was half-written is gone"
