"""What happens between two training steps: signs of life, snapshots, and leaving when told to.

All ranks decide alike. Knows nothing of engines, losses or stores.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, BinaryIO

from torch import Tensor

from trsp.distributed.collectives import all_gather, all_reduce_any, broadcast_json, rank
from trsp.errors import InvalidInputError, PreemptedError, TrainingDivergedError
from trsp.training.snapshots import Snapshot, Snapshots


class Progress:
    """What whoever runs a training gives to it: one object per training.

    Without arguments it does nothing. A snapshot is taken when ``every_s`` seconds or
    ``every_steps`` steps have passed since the last one; rank 0's clock decides. ``beat`` is called
    after every step, and ``leaving`` then tells whether this rank must leave: where any rank must,
    all ranks take a last snapshot and raise PreemptedError.
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
        self, step: int, save: Callable[[BinaryIO], int], state: Callable[[], Mapping[str, Any]]
    ) -> None:
        """Give a sign of life after step number ``step`` (the first is 1), and take a due snapshot.

        Called by all ranks. ``save`` writes this rank's file and returns its bytes; ``state`` gives
        what the loop needs besides (JSON, equal on all ranks). PreemptedError, on all ranks, where
        one of them must leave.
        """
        self.beat()
        due, leaving = all_reduce_any(rank() == 0 and self._due(step), self._leaving())
        if self._snapshots is not None and (due or leaving):
            self._take(self._snapshots, step, save, state)
        if leaving:
            kept = "nothing" if self._snapshots is None else "a snapshot"
            raise PreemptedError(f"told to leave, after step {step}; {kept} of it is kept")

    def _due(self, step: int) -> bool:
        """Whether enough steps or seconds have passed since the last snapshot."""
        if self._snapshots is None:
            return False
        if self._every_steps is not None and step - self._last_step >= self._every_steps:
            return True
        return time.monotonic() - self._last_time >= self._every_s

    def _take(
        self,
        snapshots: Snapshots,
        step: int,
        save: Callable[[BinaryIO], int],
        state: Callable[[], Mapping[str, Any]],
    ) -> None:
        with snapshots.create(step, _file(rank())) as stream:
            size = save(stream)
        sizes = all_gather(size)  # and no rank goes on before all have written
        if rank() == 0:
            files = {_file(index): size for index, size in enumerate(sizes)}
            _commit(snapshots, step, files, {**self._stored, "loop": state()})
        self._last_step, self._last_time = step, time.monotonic()
        self.beat()


def _commit(
    snapshots: Snapshots, step: int, files: Mapping[str, int], state: Mapping[str, Any]
) -> None:
    """Let a snapshot exist. TrainingDivergedError: its state holds a number that is not finite."""
    try:
        snapshots.commit(step, files, state)
    except ValueError as error:
        raise TrainingDivergedError(
            f"the state after step {step} holds a number that is not finite"
        ) from error


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


def _file(of_rank: int) -> str:
    return f"rank-{of_rank:05d}.safetensors"
