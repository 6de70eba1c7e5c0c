"""Snapshots on disk and in a store: what is committed is read whole, and nothing else at all."""

import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from safetensors.torch import load, load_file, save
from torch import Tensor

from orchestrator.store.claims import Ticket
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from trsp.checkpoints.safetensors_file import Contents, Shape, TensorFile
from trsp.errors import InvalidInputError, PreemptedError, TrainingDivergedError
from trsp.training.progress import Progress
from trsp.training.snapshots import FolderSnapshots, Snapshots

KEY = "transfer-0123"
Attempt = Callable[[str], Snapshots]


@pytest.fixture(params=["folder", "store"])
def attempt(request: pytest.FixtureRequest, tmp_path: Path) -> Attempt:
    """Another process that works on the same stage."""
    if request.param == "folder":
        return lambda name: FolderSnapshots(tmp_path, name)
    return lambda name: StoreSnapshots(Store(str(tmp_path)), KEY, Ticket(KEY, 0, name))


def write(snapshots: Snapshots, step: int, files: Mapping[str, bytes], state: Any = None) -> None:
    """As the ranks would: every file, then the commit; ``state`` None: killed before it."""
    for name, data in files.items():
        with snapshots.create(step, name) as stream:
            stream.write(data)
    if state is not None:
        snapshots.commit(step, {name: len(data) for name, data in files.items()}, state)


def read(snapshots: Snapshots) -> tuple[int, dict[str, bytes], Mapping[str, Any]] | None:
    found = snapshots.latest()
    if found is None:
        return None
    content = {}
    for name in found.files:
        with snapshots.open(found, name) as stream:
            content[name] = stream.read()
    return found.step, content, found.state


def on_disk(tmp_path: Path) -> set[str]:
    return {path.parent.name + "/" + path.name for path in tmp_path.rglob("*") if path.is_file()}


def test_what_was_committed_comes_back(attempt: Attempt) -> None:
    assert attempt("a").latest() is None
    write(attempt("a"), 12, {"rank-0": b"zero", "rank-1": b"one"}, {"loss": [0.1]})
    assert read(attempt("b")) == (12, {"rank-0": b"zero", "rank-1": b"one"}, {"loss": [0.1]})


def test_a_commit_removes_what_came_before(attempt: Attempt, tmp_path: Path) -> None:
    write(attempt("a"), 3, {"rank-0": b"left by a killed attempt"})
    for step in (9, 10, 1_000_000):
        write(attempt("b"), step, {"rank-0": b"x"}, {})
        assert read(attempt("c")) == (step, {"rank-0": b"x"}, {})
    assert on_disk(tmp_path) == {"1000000-b/rank-0", "1000000-b/state.json"}


def test_a_killed_writer_leaves_the_snapshot_before_it(attempt: Attempt, tmp_path: Path) -> None:
    write(attempt("a"), 3, {"rank-0": b"three"}, {})
    write(attempt("a"), 6, {"rank-0": b"half of s"})
    assert read(attempt("b")) == (3, {"rank-0": b"three"}, {})
    attempt("b").keep_only(attempt("b").latest())
    assert on_disk(tmp_path) == {"000003-a/rank-0", "000003-a/state.json"}


def test_files_of_two_attempts_at_one_step_are_never_mixed(attempt: Attempt) -> None:
    """Two ranks were killed half-way; the next attempt has one."""
    write(attempt("a"), 6, {"rank-0": b"old", "rank-1": b"old"})
    write(attempt("b"), 6, {"rank-0": b"new"}, {})
    assert read(attempt("c")) == (6, {"rank-0": b"new"}, {})


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "rank-1").unlink(),
        lambda folder: (folder / "rank-1").write_bytes(b"on"),
        lambda folder: (folder / "state.json").write_text('{"step": 6, "fil'),
        lambda folder: (folder / "state.json").write_text(""),
    ],
    ids=["file gone", "file cut", "state cut", "state empty"],
)
def test_a_damaged_snapshot_is_none(
    attempt: Attempt, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    write(attempt("a"), 6, {"rank-0": b"zero", "rank-1": b"one"}, {})
    (folder,) = (path.parent for path in tmp_path.rglob("state.json"))
    damage(folder)
    assert attempt("b").latest() is None


def test_a_stage_that_is_done_needs_none(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write(StoreSnapshots(store, KEY, Ticket(KEY, 0, "a")), 6, {"rank-0": b"x"}, {})
    store.stages.drop_snapshots(KEY)
    store.stages.drop_snapshots(KEY)
    assert StoreSnapshots(store, KEY).latest() is None
    assert not on_disk(tmp_path)


# --- when they are taken ----------------------------------------------------


def save_nothing(stream: BinaryIO) -> int:
    return stream.write(b"nothing")


def steps_kept(
    progress: Progress, snapshots: Snapshots, steps: int, work: Callable[[], object] = lambda: None
) -> list[int]:
    """The steps after which a new snapshot was found."""
    progress.begin({})
    seen = [0]
    for step in range(1, steps + 1):
        work()
        progress.step_done(step, save_nothing, lambda: {})
        found = snapshots.latest()
        if found is not None and found.step != seen[-1]:
            seen.append(found.step)
    return seen[1:]


def test_every_so_many_steps(tmp_path: Path) -> None:
    snapshots = FolderSnapshots(tmp_path)
    assert steps_kept(Progress(snapshots, every_steps=3), snapshots, 10) == [3, 6, 9]


def test_every_so_many_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr("trsp.training.progress.time.monotonic", lambda: now[0])
    snapshots = FolderSnapshots(tmp_path)
    assert steps_kept(
        Progress(snapshots, every_s=7), snapshots, 12, lambda: now.append(now.pop() + 2)
    ) == [4, 8, 12]


def test_told_to_leave_it_takes_a_last_one(tmp_path: Path) -> None:
    snapshots, told = FolderSnapshots(tmp_path), iter([False, False, True])
    progress = Progress(snapshots, leaving=lambda: next(told))
    with pytest.raises(PreemptedError, match=r"after step 3; a snapshot"):
        steps_kept(progress, snapshots, 10)
    assert (found := snapshots.latest()) is not None
    assert found.step == 3


def test_without_a_place_it_leaves_all_the_same() -> None:
    beats: list[int] = []
    progress = Progress(beat=lambda: beats.append(1), leaving=lambda: len(beats) == 2)
    with pytest.raises(PreemptedError, match="after step 2; nothing of it is kept"):
        steps_kept(progress, FolderSnapshots("nowhere"), 10)
    assert len(beats) == 2


def test_snapshots_of_another_training_are_refused_and_kept(tmp_path: Path) -> None:
    first = Progress(FolderSnapshots(tmp_path), every_steps=1)
    first.begin({"layers": (1, 2)})
    first.step_done(1, save_nothing, lambda: {})
    with pytest.raises(InvalidInputError, match=r"another training.*\[1, 2\].*elsewhere"):
        Progress(FolderSnapshots(tmp_path)).begin({"layers": (1, 3)})
    assert Progress(FolderSnapshots(tmp_path)).begin({"layers": (1, 2)}) is not None


def test_another_rate_begins_anew(tmp_path: Path) -> None:
    first = Progress(FolderSnapshots(tmp_path), every_steps=1)
    first.begin({})
    first.step_done(1, save_nothing, lambda: {})
    assert Progress(FolderSnapshots(tmp_path)).begin({}, lr_scale=0.5) is None
    assert not on_disk(tmp_path)


# --- the files --------------------------------------------------------------

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).view(2, 3),
    "b/0": torch.ones(3, dtype=torch.bfloat16),
    "c": torch.tensor([1, 255], dtype=torch.uint8),
    "empty": torch.zeros(0),
}


def written(tensors: Mapping[str, Tensor]) -> bytes:
    stream = io.BytesIO()
    shapes = {name: Shape(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    contents = Contents(shapes, lambda name: tensors[name], {"steps": "3"})
    assert contents.write(stream) == contents.size_bytes == len(stream.getvalue())
    return stream.getvalue()


def test_they_are_safetensors(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(written(TENSORS))
    for found in (load(written(TENSORS)), load_file(tmp_path / "x.safetensors")):
        assert found.keys() == TENSORS.keys()
        assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize(
    "source", [written(TENSORS), save(TENSORS, {"steps": "3"})], ids=["ours", "theirs"]
)
def test_ranges_are_read_where_they_lie(source: bytes) -> None:
    file, out = TensorFile(io.BytesIO(source)), torch.zeros(3)
    assert file.metadata == {"steps": "3"}
    assert set(file.names()) == TENSORS.keys()
    assert file.numel("a") == 6
    file.read_into("a", 2, out)
    assert out.tolist() == [2.0, 3.0, 4.0]


def test_a_file_that_ends_early_is_an_error() -> None:
    whole = written({"a": TENSORS["a"]})
    with pytest.raises(ValueError, match="8 bytes early"):
        TensorFile(io.BytesIO(whole[:-8])).read_into("a", 0, torch.zeros(6))


def test_a_state_that_is_not_finite_is_not_kept(tmp_path: Path) -> None:
    progress = Progress(FolderSnapshots(tmp_path, "a"), every_steps=1)
    progress.begin({})
    with pytest.raises(TrainingDivergedError, match="after step 1"):
        progress.step_done(1, lambda stream: stream.write(b"x"), lambda: {"adam": [math.inf]})
    assert FolderSnapshots(tmp_path, "b").latest() is None


@pytest.mark.parametrize("state", [{}, {"rate_scale": 1.0}, {"rate_scale": 1.0, "loop": {}}])
def test_a_state_that_is_not_ours_is_as_good_as_none(tmp_path: Path, state: Any) -> None:
    write(FolderSnapshots(tmp_path, "a"), 1, {"rank-00000": b"x"}, state)
    assert Progress(FolderSnapshots(tmp_path, "b")).begin({}) is None
