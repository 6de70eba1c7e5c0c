"""The state of a training under DeepSpeed, as ranges of named parameters.

It is independent of ranks, ZeRO stage and offload: each rank writes the fp32 master weights and
Adam's two moments of the ranges that it keeps, as KIND/OFFSET/PARAMETER; a rank of any later layout
reads the ranges that it keeps then, and no more. docs/snapshots.md says why not by DeepSpeed's own
checkpoints. Knows nothing of losses, gates or steps; ``state_pieces`` knows where DeepSpeed keeps
what.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import torch
from torch import Tensor, distributed

from trsp.checkpoints.safetensors_file import Contents, Shape, TensorFile
from trsp.distributed.device import kept_host_bytes
from trsp.distributed.host_memory import has_room
from trsp.engine.host_copy import HostCopy
from trsp.engine.state_pieces import (
    MOMENTS,
    Piece,
    adam_state,
    adam_steps,
    pieces,
    resident,
    written_here,
)
from trsp.errors import InvalidInputError

_MASTER, _GENERATOR = "master", "generator"
_ADAM_STEPS = "adam_steps"
LEAST_COPIED_BYTES = 1 << 26  # of a file: a smaller one is written before a copy would pay
_READ_AT_ONCE = 1 << 24  # elements: the host memory that a range takes on its way to an accelerator


def save_state(engine: Any | None, stream: BinaryIO, metadata: Mapping[str, str]) -> int:
    """Write this rank's share, tensor by tensor; return the bytes written.

    ``engine`` is DeepSpeed's, None where nothing trains. ``metadata`` comes back from
    ``load_state``. No rank waits for another.
    """
    return _contents(engine, metadata).write(stream)


def copy_state(engine: Any | None, metadata: Mapping[str, str]) -> HostCopy | None:
    """Return a copy of what ``save_state`` would write now, in host memory.

    None where the file is small, and soon written, or the host has no room for it. No rank waits
    for another, and each decides for itself.
    """
    contents = _contents(engine, metadata)
    if contents.size_bytes < LEAST_COPIED_BYTES:
        return None
    if not has_room(contents.size_bytes - kept_host_bytes()):  # the memory of the copy before
        return None
    try:
        room = HostCopy(contents.size_bytes)
    except RuntimeError:  # memory that can be pinned is limited besides
        return None
    return room.fill(contents)


def _contents(engine: Any | None, metadata: Mapping[str, str]) -> Contents:
    """What this rank's file is to hold."""
    groups = written_here(engine, pieces(engine)) if engine else []
    generators = _generator_states()
    tensors = _in_order(engine, groups, generators)
    steps = adam_steps(engine) if engine else 0
    return Contents(
        _shapes(groups, generators),
        lambda _: next(tensors),
        {**metadata, _ADAM_STEPS: str(steps)},
    )


def load_state(engine: Any | None, streams: Sequence[BinaryIO]) -> Mapping[str, str]:
    """Fill this rank's share from files that ``save_state`` wrote; return their metadata.

    ``streams`` are the files of all ranks, in their order. Called on all ranks together.
    InvalidInputError where they lack something of this model.
    """
    stored = StoredState([TensorFile(stream) for stream in streams])
    if engine is not None:
        for group in resident(engine, pieces(engine), changed=True):
            for piece in group:
                stored.fill(_MASTER, piece, piece.of(piece.holder))
                state = adam_state(engine, piece.holder, stored.adam_steps)
                for kind in MOMENTS:
                    stored.fill(kind, piece, piece.of(state[kind]))
    _restore_generators(stored.generators())
    return stored.files[0].metadata


def _shapes(groups: list[list[Piece]], generators: Mapping[str, Tensor]) -> dict[str, Shape]:
    """The tensors of a file by name, in the order in which ``_in_order`` yields them."""
    shapes: dict[str, Shape] = {}
    for group in groups:
        for piece in group:
            for kind in (_MASTER, *MOMENTS):
                name = f"{kind}/{piece.offset}/{piece.name}"
                shapes[name] = Shape(torch.float32, (piece.numel,))
    for name, state in generators.items():
        shapes[f"{_GENERATOR}/{name}"] = Shape(state.dtype, tuple(state.shape))
    return shapes


def _in_order(
    engine: Any | None, groups: list[list[Piece]], generators: Mapping[str, Tensor]
) -> Iterator[Tensor]:
    if engine is not None:
        for group in resident(engine, groups, changed=False):
            for piece in group:
                yield piece.of(piece.holder)
                state = adam_state(engine, piece.holder)
                yield from (piece.of(state[kind]) for kind in MOMENTS)
    yield from generators.values()


class StoredState:
    """The ranges that the files of a snapshot hold, whichever rank and layout wrote them."""

    def __init__(self, files: Sequence[TensorFile]) -> None:
        self.files = files
        self.adam_steps = max(int(file.metadata[_ADAM_STEPS]) for file in files)
        self._ranges: dict[tuple[str, str], list[tuple[int, TensorFile, str]]] = defaultdict(list)
        for file in files:
            for key in file.names():
                if not key.startswith(_GENERATOR):
                    kind, offset, name = key.split("/", 2)
                    self._ranges[kind, name].append((int(offset), file, key))

    def fill(self, kind: str, piece: Piece, out: Tensor) -> None:
        """Read the stored elements of ``piece`` into ``out``: flat, on any device.

        InvalidInputError where the files lack some.
        """
        missing = piece.numel
        for offset, file, key in self._ranges[kind, piece.name]:
            begin = max(offset, piece.offset)
            end = min(offset + file.numel(key), piece.offset + piece.numel)
            for at in range(begin, end, _READ_AT_ONCE):
                count = min(_READ_AT_ONCE, end - at)
                _read(file, key, at - offset, out.narrow(0, at - piece.offset, count))
            missing -= max(0, end - begin)
        if missing:
            raise InvalidInputError(
                f"the snapshot lacks {missing} of {piece.numel} elements of {kind} of "
                f"{piece.name}: it is of another model, or damaged; remove it, to begin anew"
            )

    def generators(self) -> Mapping[str, Tensor]:
        """States of the random generators: this rank's own, or another's if ranks were fewer."""
        file = self.files[distributed.get_rank() % len(self.files)]
        states: dict[str, Tensor] = {}
        for key in file.names():
            if key.startswith(_GENERATOR):
                state = torch.empty(file.numel(key), dtype=torch.uint8)
                file.read_into(key, 0, state)
                states[key.partition("/")[2]] = state
        return states


def _read(file: TensorFile, key: str, start: int, out: Tensor) -> None:
    """Fill ``out``, on any device, from elements ``start`` on; on its way it passes host memory."""
    if out.device.type == "cpu":
        file.read_into(key, start, out)
        return
    buffer = torch.empty(out.shape, dtype=out.dtype)
    file.read_into(key, start, buffer)
    out.copy_(buffer)


def _generator_states() -> dict[str, Tensor]:
    """States of torch's generators on this process's devices, as bytes.

    Nothing in a step draws from any other.
    """
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_generators(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
