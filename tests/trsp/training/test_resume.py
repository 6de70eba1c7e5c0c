"""Trainings that are killed, preempted and resumed, on real ranks: they end as if nothing had happened."""

import io
import itertools
import os
import shutil
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.tiny import save_tiny, tiny_model
from tests.trsp.spawn_ranks import Gang, on_ranks
from trsp.config import DriftSettings, EngineSettings, GatesSettings, LoraSettings
from trsp.distributed.zero3_parameters import whole_tensor
from trsp.engine.engine import Engine
from trsp.engine.load_sharded import load_sharded
from trsp.engine.optimizer_config import OptimizerConfig
from trsp.errors import InvalidInputError, PreemptedError
from trsp.records import RoundRecord
from trsp.selection import rank_layers
from trsp.training.progress import Progress
from trsp.training.snapshots import FolderSnapshots
from trsp.transfer import transfer

BLOCKS = torch.randint(0, 256, (8, 24), generator=torch.Generator().manual_seed(0))
DRIFT = DriftSettings(
    learning_rate=1e-3, blocks_per_step=4, steps=6, max_grad_norm=0.5, weight_decay=0.1
)
WAYS = {
    "zero 0": EngineSettings(zero_stage=0),
    "zero 1": EngineSettings(zero_stage=1, micro_batch=2),
    "zero 2, offload": EngineSettings(zero_stage=2, offload_optimizer="cpu"),
    "zero 3": EngineSettings(zero_stage=3),
    "zero 3, offload, sharded": EngineSettings(
        zero_stage=3, offload_optimizer="cpu", offload_weights="cpu"
    ),
}
ZERO_2 = EngineSettings(zero_stage=2)


def never() -> Iterator[bool]:
    return itertools.repeat(False)


def after(steps: int) -> Iterator[bool]:
    """Told to leave after so many steps."""
    return itertools.chain(itertools.repeat(False, steps - 1), itertools.repeat(True))


def weights(model: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def largest_difference(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Over all parameters, the norm of the difference by the norm."""
    assert found.keys() == wanted.keys()
    return max(
        float((found[name].float() - wanted[name].float()).norm() / wanted[name].float().norm())
        for name in wanted
    )


# --- stage two, in one process ------------------------------------------------------------------------------------------


def trained(
    way: EngineSettings,
    place: Path | None = None,
    told: Iterator[bool] | None = None,
    dtype: torch.dtype = torch.float32,
    settings: DriftSettings = DRIFT,
) -> tuple[dict[str, Tensor], Any]:
    """Weights and record of a training that may be told to leave, or goes on from snapshots in ``place``."""
    told = told or never()
    model = tiny_model("llama", dtype=dtype)
    snapshots = None if place is None else FolderSnapshots(place)
    record = transfer(
        model, [1, 3], BLOCKS, settings, 0.5, way, Progress(snapshots, leaving=lambda: next(told))
    )
    return weights(model), record


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("way", ["zero 0", "zero 2, offload", "zero 3"])
def test_a_resumed_training_is_bit_equal(tmp_path: Path, way: str, dtype: torch.dtype) -> None:
    """Left after the first step, in the middle, when the branches are gone and after the last step."""
    wanted, record = trained(WAYS[way], dtype=dtype)
    for steps in (1, 2, 2, 1):
        with pytest.raises(PreemptedError):
            trained(WAYS[way], tmp_path, after(steps), dtype)
    found, resumed = trained(WAYS[way], tmp_path, dtype=dtype)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert resumed.model_copy(update={"seconds": 0}) == record.model_copy(update={"seconds": 0})


def test_of_adapters_only_the_adapters_are_kept(tmp_path: Path) -> None:
    """Written under ZeRO 3 and read under ZeRO 2, which keeps other ranges."""
    settings = DRIFT.model_copy(update={"lora": LoraSettings(rank=2)})
    wanted, _ = trained(ZERO_2, settings=settings)
    with pytest.raises(PreemptedError):
        trained(WAYS["zero 3"], tmp_path, after(3), settings=settings)
    kept = load_file(next(tmp_path.rglob("*.safetensors")))
    assert all(".lora_" in name for name in kept if not name.startswith("generator/"))
    found, _ = trained(ZERO_2, tmp_path, settings=settings)
    assert largest_difference(found, wanted) < 1e-5
    assert largest_difference(found, weights(tiny_model("llama"))) > 1e-3


def test_without_its_optimizer_a_resumed_training_would_differ(tmp_path: Path) -> None:
    """The tests of equality can fail: moments of zero give other weights."""
    wanted, _ = trained(WAYS["zero 0"])
    with pytest.raises(PreemptedError):
        trained(WAYS["zero 0"], tmp_path, after(3))
    (file,) = tmp_path.rglob("*.safetensors")
    tensors = load_file(file)
    meta = {"steps": "3", "adam_steps": "3"}
    size = file.stat().st_size
    save_file(
        {name: each * 0 if name.startswith("exp") else each for name, each in tensors.items()},
        file,
        meta,
    )
    state = next(tmp_path.rglob("state.json"))
    state.write_text(state.read_text().replace(f": {size}", f": {file.stat().st_size}"))
    found, _ = trained(WAYS["zero 0"], tmp_path)
    assert largest_difference(found, wanted) > 1e-3


def test_random_generators_go_on() -> None:
    stream = io.BytesIO()
    with Engine(tiny_model("llama"), ZERO_2, 1, OptimizerConfig(1e-3, steps=1)) as engine:
        engine.save_state(stream)
        wanted = torch.rand(3)
        torch.manual_seed(5)
        stream.seek(0)
        engine.load_state([stream])
    assert torch.equal(torch.rand(3), wanted)


def test_a_snapshot_of_another_model_is_refused() -> None:
    stream = io.BytesIO()
    with Engine(tiny_model("llama"), ZERO_2, 1, OptimizerConfig(1e-3, steps=1)) as engine:
        engine.save_state(stream)
    stream.seek(0)
    with (
        Engine(tiny_model("llama", layers=7), ZERO_2, 1, OptimizerConfig(1e-3, steps=1)) as engine,
        pytest.raises(
            InvalidInputError, match=r"lacks 1024 of 1024 elements of master of model.layers.6"
        ),
    ):
        engine.load_state([stream])


# --- stage one ----------------------------------------------------------------------------------------------------------


def ranked(
    settings: GatesSettings,
    done: list[RoundRecord],
    place: Path,
    told: Iterator[bool] | None = None,
) -> tuple[dict[str, Tensor], int]:
    """Publishes into ``done``; returns the model's weights, and how many steps it took."""
    model, steps = tiny_model("llama"), []
    told = told or never()

    def leaving() -> bool:
        steps.append(1)
        return next(told)

    progress = Progress(FolderSnapshots(place), leaving=leaving)
    try:
        for record in rank_layers(
            model,
            BLOCKS,
            settings,
            depth=3,
            done=tuple(done),
            engine=WAYS["zero 0"],
            progress=progress,
        ):
            done.append(record.model_copy(update={"seconds": 0}))
    except PreemptedError:
        pass
    return weights(model), len(steps)


@pytest.mark.parametrize(
    "way", [{}, {"train_weights": True, "weights_learning_rate": 1e-3}, {"reset_each_round": True}]
)
@pytest.mark.parametrize(
    "left_after", [2, 4, 6, 11], ids=["within a round", "at its end", "in the next", "in the last"]
)
def test_a_resumed_ranking_is_bit_equal_and_repeats_nothing(
    tmp_path: Path, way: dict[str, Any], left_after: int
) -> None:
    """Three rounds of four steps: however weights and gates are trained, no published round is trained again."""
    settings = GatesSettings.model_validate(
        {"learning_rate": 0.03, "blocks_per_step": 4, "steps_per_round": 4} | way
    )
    undisturbed: list[RoundRecord] = []
    wanted, _ = ranked(settings, undisturbed, tmp_path / "undisturbed")
    resumed: list[RoundRecord] = []
    ranked(settings, resumed, tmp_path / "left", after(left_after))
    assert len(resumed) == (left_after - 1) // 4
    found, steps = ranked(settings, resumed, tmp_path / "left")
    assert resumed == undisturbed
    assert steps == 12 - left_after
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_weights_are_restored_from_a_snapshot_older_than_the_last_published_round(
    tmp_path: Path,
) -> None:
    settings = GatesSettings(
        learning_rate=0.03,
        blocks_per_step=4,
        steps_per_round=4,
        train_weights=True,
        weights_learning_rate=1e-3,
    )
    undisturbed: list[RoundRecord] = []
    wanted, _ = ranked(settings, undisturbed, tmp_path / "undisturbed")
    ranked(settings, [], tmp_path / "left", after(3))
    published = undisturbed[:2]
    found, steps = ranked(settings, published, tmp_path / "left")
    assert (published, steps) == (undisturbed, 9)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


# --- ranks that are killed ----------------------------------------------------------------------------------------------

LONG = DRIFT.model_copy(update={"steps": 40})
EVERY = 3


def this_rank() -> int:
    """Before there is a group, too."""
    return int(os.environ["RANK"])


def train_and_log(folder: Path, attempt: str, settings: DriftSettings = LONG) -> None:
    """On every rank: goes on from the last snapshot, and writes a line into its log when a step is done."""
    model, snapshots = tiny_model("llama"), FolderSnapshots(folder / "snapshots", attempt)
    begun = snapshots.latest()
    steps = itertools.count(begun.step + 1 if begun else 1)
    with (folder / f"{attempt}-{this_rank()}.log").open("w", buffering=1) as log:

        def step_is_done() -> bool:
            log.write(f"{next(steps)}\n")
            return False

        progress = Progress(snapshots, every_steps=EVERY, leaving=step_is_done)
        transfer(model, [1, 3], BLOCKS, settings, 0.5, ZERO_2, progress)
    if this_rank() == 0:
        save_file(weights(model), folder / "weights.safetensors")


def steps_done(folder: Path, attempt: str) -> list[int]:
    """By any rank, in order."""
    logs = [
        [int(line) for line in log.read_text().split()] for log in folder.glob(f"{attempt}-*.log")
    ]
    return max(logs, key=len, default=[])


def kill_one(
    folder: Path, attempt: str, steps: int, rng: Random, settings: DriftSettings = LONG
) -> None:
    """SIGKILL to a rank once ``steps`` steps are done, at whatever it is doing then."""
    with Gang(2, train_and_log, folder, attempt, settings) as gang:
        deadline = time.monotonic() + 60
        while len(steps_done(folder, attempt)) < steps:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(rng.random() * 0.05)
        killed = rng.randrange(2)
        gang.kill(killed)
        outcomes = gang.join(30)
    assert outcomes[killed].exitcode == -9
    assert outcomes[1 - killed].error is not None, "the other rank does not go on alone"


@pytest.mark.slow
def test_a_rank_killed_ten_times_costs_at_most_one_interval_each_time(tmp_path: Path) -> None:
    rng = Random(0)
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    disturbed.mkdir()
    undisturbed.mkdir()
    on_ranks(2, train_and_log, undisturbed, "only")
    for number in range(10):
        kill_one(disturbed, f"{number:02d}", rng.randint(1, 4), rng)
    on_ranks(2, train_and_log, disturbed, "last")
    attempts = [
        steps_done(disturbed, attempt)
        for attempt in [*(f"{number:02d}" for number in range(10)), "last"]
    ]
    repeated = [earlier[-1] - later[0] + 1 for earlier, later in pairwise(attempts)]
    assert max(repeated) <= EVERY
    assert min(repeated) >= 0, "and no step is left out"
    assert attempts[-1][-1] == LONG.steps
    found, wanted = (
        load_file(folder / "weights.safetensors") for folder in (disturbed, undisturbed)
    )
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.slow
def test_two_ranks_are_killed_and_one_or_four_go_on(tmp_path: Path) -> None:
    short = DRIFT.model_copy(update={"steps": 12})
    killed = tmp_path / "killed"
    killed.mkdir()
    kill_one(killed, "two", 6, Random(1), short)
    done = steps_done(killed, "two")[-1]
    model = tiny_model("llama")
    transfer(model, [1, 3], BLOCKS, short, 0.5)
    for ranks in (1, 4):
        folder = shutil.copytree(killed, tmp_path / f"on {ranks}")
        on_ranks(ranks, train_and_log, folder, "resumed", short)
        assert 0 <= done - steps_done(folder, "resumed")[0] + 1 <= EVERY
        assert largest_difference(load_file(folder / "weights.safetensors"), weights(model)) < 1e-5


# --- across layouts -----------------------------------------------------------------------------------------------------


def leave_all(folder: Path, source: Path, dtype: torch.dtype) -> list[str]:
    """Rank 1 alone is told to leave, under every layout; returns those under which this rank left with it."""
    left = []
    for way in WAYS:
        told = after(3) if this_rank() == 1 else never()
        progress = Progress(
            FolderSnapshots(folder / way, "left"), leaving=lambda told=told: next(told)
        )  # type: ignore[misc]
        try:
            transfer(model_for(way, source, dtype), [1, 3], BLOCKS, DRIFT, 0.5, WAYS[way], progress)
        except PreemptedError:
            left.append(way)
    return left


def resume_all(folder: Path, source: Path, dtype: torch.dtype) -> None:
    """Every snapshot under the layout that comes two places later, so that each is crossed with a different one."""
    for index, written in enumerate(WAYS):
        way = list(WAYS)[(index + 2) % len(WAYS)]
        model = model_for(way, source, dtype)
        place = folder / f"from {written}"
        if this_rank() == 0:
            shutil.copytree(folder.parent / "left" / written, place)
        transfer(
            model,
            [1, 3],
            BLOCKS,
            DRIFT,
            0.5,
            WAYS[way],
            Progress(FolderSnapshots(place, "resumed")),
        )
        trained = {name: whole_tensor(parameter) for name, parameter in model.named_parameters()}
        if this_rank() == 0:
            save_file(trained, folder / f"{written}.safetensors")


def model_for(way: str, source: Path, dtype: torch.dtype) -> Any:
    if "sharded" not in way:
        return tiny_model("llama", dtype=dtype)
    return load_sharded(
        str(source), precision="bf16" if dtype is torch.bfloat16 else "fp32", engine=WAYS[way]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "readers", "tolerance"),
    [(torch.float32, (1, 4), 1e-5), (torch.bfloat16, (1,), 5e-3)],
    ids=["fp32", "bf16"],
)
def test_a_snapshot_of_two_ranks_goes_on_under_any_layout(
    tmp_path: Path, dtype: torch.dtype, readers: tuple[int, ...], tolerance: float
) -> None:
    """Across ZeRO stages and offload, whole models and models that never are: the weights of an undisturbed single rank."""
    source = save_tiny("llama", tmp_path / "model")
    assert on_ranks(2, leave_all, tmp_path / "left", source, dtype) == [list(WAYS)] * 2
    wanted, _ = trained(WAYS["zero 0"], dtype=dtype)
    for ranks in readers:
        folder = tmp_path / f"on {ranks}"
        folder.mkdir()
        on_ranks(ranks, resume_all, folder, source, dtype)
        found = {
            way: largest_difference(load_file(folder / f"{way}.safetensors"), wanted)
            for way in WAYS
        }
        assert max(found.values()) < tolerance, (ranks, found)
