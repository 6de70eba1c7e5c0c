"""What happens between two steps of a training loop: signs of life, snapshots, and leaving when told to.

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
from trsp.errors import InvalidInputError, PreemptedError
from trsp.training.snapshots import Snapshot, Snapshots


class Progress:
    """Given to a training by whoever runs it; one for each. Without arguments it does nothing.

    ``every_s``, ``every_steps``: a snapshot is taken when either has passed since the last one; rank 0's clock decides.
    ``beat`` is called after every step. Then ``leaving`` is asked: where it is true on any rank, all ranks take a last
    snapshot and raise PreemptedError.
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
        self._subject: Mapping[str, Any] = {}
        self._last_step, self._last_time = 0, time.monotonic()

    def begin(self, subject: Mapping[str, Any], lr_scale: float = 1.0) -> Snapshot | None:
        """The snapshot to go on from; None: from the beginning. Called by all ranks, once, before anything else.

        ``subject`` says what is trained, on what and how (JSON). InvalidInputError where the snapshots are of another
        training; those of another ``lr_scale`` are as good as none, for that is why it was changed.
        """
        self._subject = {"subject": json.loads(json.dumps(subject)), "rate_scale": lr_scale}
        self._last_time = time.monotonic()
        if self._snapshots is None:
            return None
        found = broadcast_json(_latest(self._snapshots, lr_scale) if rank() == 0 else None)
        if found is not None and found["state"]["subject"] != self._subject["subject"]:
            raise InvalidInputError(
                f"the snapshots are of another training, {found['state']['subject']}; this one is "
                f"{self._subject['subject']}: keep its snapshots elsewhere, or remove those"
            )
        return None if found is None else Snapshot(**{**found, "state": found["state"]["loop"]})

    def restore(self, snapshot: Snapshot, load: Callable[[Sequence[BinaryIO]], None]) -> None:
        """Hands the files of all ranks to ``load``, opened. Called by all ranks."""
        assert self._snapshots is not None
        self.beat()
        with ExitStack() as stack:
            load(
                [
                    stack.enter_context(self._snapshots.open(snapshot, file))
                    for file in snapshot.files
                ]
            )
        self._last_step, self._last_time = snapshot.step, time.monotonic()
        self.beat()

    def step_done(
        self, step: int, save: Callable[[BinaryIO], int], state: Callable[[], Mapping[str, Any]]
    ) -> None:
        """Called by all ranks after step number ``step`` (the first is 1). Takes a snapshot where one is due.

        ``save`` writes this rank's file and returns its bytes; ``state`` is what the loop needs besides (JSON, equal on
        all ranks). PreemptedError, on all ranks, where one of them was told to leave.
        """
        self.beat()
        due, leaving = all_reduce_any(rank() == 0 and self._due(step), self._leaving())
        if self._snapshots is not None and (due or leaving):
            self._take(self._snapshots, step, save, state)
        if leaving:
            kept = (
                "a snapshot of it is kept"
                if self._snapshots is not None
                else "nothing of it is kept"
            )
            raise PreemptedError(f"told to leave, after step {step}; {kept}")

    def _due(self, step: int) -> bool:
        steps_passed = self._every_steps is not None and step - self._last_step >= self._every_steps
        return self._snapshots is not None and (
            steps_passed or time.monotonic() - self._last_time >= self._every_s
        )

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
            files = {_file(i): size for i, size in enumerate(sizes)}
            snapshots.commit(step, files, {**self._subject, "loop": state()})
        self._last_step, self._last_time = step, time.monotonic()
        self.beat()


def _latest(snapshots: Snapshots, lr_scale: float) -> dict[str, Any] | None:
    """The snapshot to go on from, as JSON. What was left half-written is removed: it may have filled the disk."""
    found = snapshots.latest()
    if found is not None and found.state["rate_scale"] != lr_scale:
        found = None
    snapshots.keep_only(found)
    return None if found is None else asdict(found)


def digest(tensor: Tensor) -> str:
    """Of a tensor's values: equal trainings read equal blocks."""
    return hashlib.sha256(tensor.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def _file(index: int) -> str:
    return f"rank-{index:05d}.safetensors"
