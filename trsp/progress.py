"""What happens between two steps of a training loop: signs of life, snapshots, and leaving when told to.

Knows the process group, for all ranks must decide alike; nothing of engines, losses or stores.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, BinaryIO

import torch
from torch import Tensor, distributed

from trsp.errors import InvalidInputError, PreemptedError
from trsp.snapshots import Snapshot, Snapshots


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

    def begin(self, subject: Mapping[str, Any], rate_scale: float = 1.0) -> Snapshot | None:
        """The snapshot to go on from; None: from the beginning. Called by all ranks, once, before anything else.

        ``subject`` says what is trained, on what and how (JSON). InvalidInputError where the snapshots are of another
        training; those of another ``rate_scale`` are as good as none, for that is why it was changed.
        """
        self._subject = {"subject": json.loads(json.dumps(subject)), "rate_scale": rate_scale}
        if self._snapshots is None:
            return None
        found = self._snapshots.latest() if _rank() == 0 else None
        stored = _from_rank_0(None if found is None else asdict(found))
        if stored is None or stored["state"]["rate_scale"] != rate_scale:
            return None
        if stored["state"]["subject"] != self._subject["subject"]:
            raise InvalidInputError(
                f"the snapshots are of another training, {stored['state']['subject']}; this one is "
                f"{self._subject['subject']}: keep its snapshots elsewhere, or remove those"
            )
        return Snapshot(**{**stored, "state": stored["state"]["loop"]})

    def restore(self, snapshot: Snapshot, load: Callable[[Sequence[BinaryIO]], None]) -> None:
        """Hands the files of all ranks to ``load``, opened. Called by all ranks."""
        assert self._snapshots is not None
        self.beat()
        with ExitStack() as stack:
            load([stack.enter_context(self._snapshots.open(snapshot, file)) for file in snapshot.files])
        self._last_step, self._last_time = snapshot.step, time.monotonic()
        self.beat()

    def step_done(self, step: int, save: Callable[[BinaryIO], int], state: Callable[[], Mapping[str, Any]]) -> None:
        """Called by all ranks after step number ``step`` (the first is 1). Takes a snapshot where one is due.

        ``save`` writes this rank's file and returns its bytes; ``state`` is what the loop needs besides (JSON, equal on
        all ranks). PreemptedError, on all ranks, where one of them was told to leave.
        """
        self.beat()
        due, leaving = _on_any_rank(_rank() == 0 and self._due(step), self._leaving())
        if self._snapshots is not None and (due or leaving):
            self._take(self._snapshots, step, save, state)
        if leaving:
            kept = "a snapshot of it is kept" if self._snapshots is not None else "nothing of it is kept"
            raise PreemptedError(f"told to leave, after step {step}; {kept}")

    def _due(self, step: int) -> bool:
        steps_passed = self._every_steps is not None and step - self._last_step >= self._every_steps
        return self._snapshots is not None and (steps_passed or time.monotonic() - self._last_time >= self._every_s)

    def _take(
        self, snapshots: Snapshots, step: int, save: Callable[[BinaryIO], int], state: Callable[[], Mapping[str, Any]]
    ) -> None:
        with snapshots.create(step, _file(_rank())) as stream:
            size = save(stream)
        sizes = _from_all_ranks(size)  # and no rank goes on before all have written
        if _rank() == 0:
            files = {_file(rank): size for rank, size in enumerate(sizes)}
            snapshots.commit(step, files, {**self._subject, "loop": state()})
        self._last_step, self._last_time = step, time.monotonic()
        self.beat()


def _file(rank: int) -> str:
    return f"rank-{rank:05d}.safetensors"


# --- what the ranks tell each other -------------------------------------------------------------------------------------


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def _ranks() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _tensor(values: Sequence[int], dtype: torch.dtype = torch.int64) -> Tensor:
    """Where the process group's back end wants it."""
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    return torch.tensor(values, dtype=dtype, device=device)


def _on_any_rank(*flags: bool) -> Sequence[bool]:
    if _ranks() == 1:
        return flags
    flags_F = _tensor([int(flag) for flag in flags])
    distributed.all_reduce(flags_F, op=distributed.ReduceOp.MAX)
    return [bool(flag) for flag in flags_F.tolist()]


def _from_all_ranks(value: int) -> Sequence[int]:
    if _ranks() == 1:
        return [value]
    values = [_tensor([0]) for _ in range(_ranks())]
    distributed.all_gather(values, _tensor([value]))
    return [int(each.item()) for each in values]


def _from_rank_0(value: Any) -> Any:
    """Rank 0's JSON value, on all ranks."""
    if _ranks() == 1:
        return value
    encoded = json.dumps(value).encode()
    length = _tensor([len(encoded)])
    distributed.broadcast(length, src=0)
    content = _tensor(list(encoded) if _rank() == 0 else [0] * int(length.item()), torch.uint8)
    distributed.broadcast(content, src=0)
    return json.loads(bytes(content.tolist()))
