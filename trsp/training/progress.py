"""What happens between two training steps: signs of life, snapshots, and leaving when told to.

All ranks decide alike. Knows nothing of engines, losses or stores.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from types import TracebackType
from typing import Any, BinaryIO, Self

from torch import Tensor

from trsp.distributed.collectives import all_reduce_any, broadcast_json, rank
from trsp.errors import InvalidInputError, PreemptedError
from trsp.training.snapshot_writer import Copy, Save, SnapshotWriter
from trsp.training.snapshots import Snapshot, Snapshots


class Progress:
    """What whoever runs a training gives to it: one object per training.

    Without arguments it does nothing. A snapshot is taken when ``every_s`` seconds or
    ``every_steps`` steps have passed since the last one; rank 0's clock decides. ``beat`` is called
    after every step, and ``leaving`` then tells whether this rank must leave: where any rank must,
    all ranks take a last snapshot and raise PreemptedError. A context manager: a training ends
    within it, for a snapshot may still be on its way.
    """

    def __init__(
        self,
        snapshots: Snapshots | None = None,
        every_s: float = 600.0,
        every_steps: int | None = None,
        beat: Callable[[], None] = lambda: None,
        leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        self.beat = beat
        self._snapshots, self._leaving = snapshots, leaving
        self._writer = None if snapshots is None else SnapshotWriter(snapshots)
        self._every_s, self._every_steps = every_s, every_steps
        self._stored: Mapping[str, Any] = {}  # what the state of every snapshot begins with
        self._last_step, self._last_time = 0, time.monotonic()

    def begin(self, identity: Mapping[str, Any], lr_scale: float = 1.0) -> Snapshot | None:
        """Return the snapshot to go on from; None where the training begins at its beginning.

        Its ``state`` is what the loop gave to ``step_done``. Called by all ranks, once, before
        anything else. ``identity`` says what is trained, on what and how (JSON). InvalidInputError
        where the snapshots are of another training; those of another ``lr_scale`` are as good as
        none, for that is why it was changed.
        """
        identity = json.loads(json.dumps(identity))
        self._stored = {"subject": identity, "rate_scale": lr_scale}
        self._last_time = time.monotonic()
        if self._snapshots is None:
            return None
        latest = broadcast_json(_latest(self._snapshots, lr_scale) if rank() == 0 else None)
        if latest is None:
            return None
        state = latest["state"]
        _check_same(state["subject"], identity)
        return Snapshot(**{**latest, "state": state["loop"]})

    def restore(self, snapshot: Snapshot, load: Callable[[Sequence[BinaryIO]], None]) -> None:
        """Give the files of all ranks to ``load``, opened. Called by all ranks."""
        assert self._snapshots is not None
        self.beat()
        with ExitStack() as stack:
            opened = (self._snapshots.open(snapshot, file) for file in snapshot.files)
            load([stack.enter_context(stream) for stream in opened])
        self._last_step, self._last_time = snapshot.step, time.monotonic()
        self.beat()

    def step_done(
        self,
        step: int,
        save: Save,
        state: Callable[[], Mapping[str, Any]],
        copy: Copy = lambda: None,
    ) -> None:
        """Give a sign of life after step number ``step`` (the first is 1), and take a due snapshot.

        Called by all ranks. ``copy`` copies this rank's file, which is then written beside the next
        steps; where it returns None, ``save`` writes it at once and returns its bytes. A snapshot
        that is due while the one before is on its way is taken once that is whole: no step waits
        for it. ``state`` gives what the loop needs besides (JSON, equal on all ranks). What went
        wrong with a snapshot on its way is raised here. PreemptedError, on all ranks, where one of
        them must leave.
        """
        self.beat()
        writer = self._writer
        due, leaving, busy = all_reduce_any(
            rank() == 0 and self._due(step), self._leaving(), writer is not None and writer.busy
        )
        if writer is not None:
            if not busy:
                writer.advance()
            if leaving:
                writer.finish()
                self.beat()
                self._take(writer, step, save, state, lambda: None)
            elif due and writer.idle:
                self._take(writer, step, save, state, copy)
        if leaving:
            kept = "nothing" if writer is None else "a snapshot"
            raise PreemptedError(f"told to leave, after step {step}; {kept} of it is kept")

    def _due(self, step: int) -> bool:
        """Whether enough steps or seconds have passed since the last snapshot."""
        if self._writer is None:
            return False
        if self._every_steps is not None and step - self._last_step >= self._every_steps:
            return True
        return time.monotonic() - self._last_time >= self._every_s

    def _take(
        self,
        writer: SnapshotWriter,
        step: int,
        save: Save,
        state: Callable[[], Mapping[str, Any]],
        copy: Copy,
    ) -> None:
        writer.take(step, {**self._stored, "loop": state()}, save, copy)
        self._last_step, self._last_time = step, time.monotonic()
        self.beat()

    def __enter__(self) -> Self:
        """Return this object; leaving the context ends what is on its way."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for the snapshot on its way, or after an error give it up. Called by all ranks."""
        if self._writer is None:
            return
        if kind is None:
            self._writer.finish()
        else:
            self._writer.give_up()
        self.beat()


def _latest(snapshots: Snapshots, lr_scale: float) -> dict[str, Any] | None:
    """The snapshot to go on from, as JSON, after all others are removed.

    What was left half-written may have filled the disk.
    """
    latest = snapshots.latest()
    if latest is not None and not _is_of_rate(latest.state, lr_scale):
        latest = None
    snapshots.keep_only(latest)
    return None if latest is None else asdict(latest)


def _is_of_rate(state: Mapping[str, Any], lr_scale: float) -> bool:
    """Whether a state is one that we wrote, and at this share of the learning rate."""
    return {"subject", "loop"} <= state.keys() and state.get("rate_scale") == lr_scale


def _check_same(stored: Any, identity: Any) -> None:
    """Refuse snapshots of another training."""
    if stored != identity:
        raise InvalidInputError(
            f"the snapshots are of another training, {stored}; this one is {identity}: "
            "keep its snapshots elsewhere, or remove those"
        )


def digest(tensor: Tensor) -> str:
    """A hash of a tensor's values: equal trainings read equal blocks."""
    return hashlib.sha256(tensor.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]
