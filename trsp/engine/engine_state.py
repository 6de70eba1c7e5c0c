"""The state of a training under DeepSpeed, as ranges of named parameters: independent of ranks, ZeRO stage and offload.

Each rank writes the fp32 master weights and Adam's two moments of the ranges that it keeps, as KIND/OFFSET/PARAMETER; a rank
of any later layout reads the ranges that it keeps then, and no more. docs/snapshots.md says why not by DeepSpeed's own
checkpoints. Knows where DeepSpeed keeps what; nothing of losses, gates or steps.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch import Tensor, distributed

from trsp.checkpoints.safetensors_file import Shape, TensorFile, write_tensors
from trsp.errors import InvalidInputError

_MASTER, _MOMENTS, _GENERATOR = "master", ("exp_avg", "exp_avg_sq"), "generator"
_ADAM_STEPS = "adam_steps"
_READ_AT_ONCE = 1 << 24  # elements: the host memory that a range takes on its way to an accelerator


@dataclass(frozen=True)
class Piece:
    """A range of a parameter's elements that this rank keeps: ``numel`` of them, from ``offset`` on in the parameter and
    from ``start`` on in ``holder``, the tensor that the optimizer knows: a master copy, or a flat group of them.
    """

    name: str
    offset: int
    numel: int
    holder: Tensor
    start: int = 0

    def of(self, tensor: Tensor) -> Tensor:
        """This range of the holder, or of a tensor of its shape, as a flat view."""
        return tensor.detach().view(-1).narrow(0, self.start, self.numel)


# --- to and from a file -------------------------------------------------------------------------------------------------


def save_state(engine: Any | None, stream: BinaryIO, metadata: Mapping[str, str]) -> int:
    """Write this rank's share, tensor by tensor; returns bytes written. ``engine``: DeepSpeed's, None where nothing trains.

    ``metadata`` comes back from ``load_state``. No rank waits for another.
    """
    groups = _written_here(engine, _pieces(engine)) if engine else []
    generators = _random_states()
    shapes = {
        f"{kind}/{piece.offset}/{piece.name}": Shape(torch.float32, (piece.numel,))
        for group in groups
        for piece in group
        for kind in (_MASTER, *_MOMENTS)
    }
    shapes |= {
        f"{_GENERATOR}/{name}": Shape(state.dtype, tuple(state.shape))
        for name, state in generators.items()
    }

    def tensors() -> Iterator[Tensor]:
        for group in _resident(engine, groups, changed=False):
            for piece in group:
                yield piece.of(piece.holder)
                state = _adam_state(engine, piece.holder)
                yield from (piece.of(state[kind]) for kind in _MOMENTS)
        yield from generators.values()

    in_order = tensors()
    return write_tensors(
        stream,
        shapes,
        lambda _: next(in_order),
        {**metadata, _ADAM_STEPS: str(_adam_steps(engine))},
    )


def load_state(engine: Any | None, streams: Sequence[BinaryIO]) -> Mapping[str, str]:
    """Fill this rank's share from the files of all ranks that ``save_state`` wrote, in their order. On all ranks together.

    InvalidInputError where they lack something of this model.
    """
    stored = StoredState([TensorFile(stream) for stream in streams])
    if engine is not None:
        for group in _resident(engine, _pieces(engine), changed=True):
            for piece in group:
                stored.fill(_MASTER, piece, piece.of(piece.holder))
                state = _adam_state(engine, piece.holder, stored.adam_steps)
                for kind in _MOMENTS:
                    stored.fill(kind, piece, piece.of(state[kind]))
    _restore_random_states(stored.generators())
    return stored.files[0].metadata


class StoredState:
    """The ranges that the files of a snapshot hold, whichever rank of whatever layout wrote them."""

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
        """``out``: the piece's elements, flat, on any device."""
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
                f"the snapshot lacks {missing} of {piece.numel} elements of {kind} of {piece.name}: it is of another model, "
                "or damaged; remove it, to begin anew"
            )

    def generators(self) -> Mapping[str, Tensor]:
        """States of the random generators: this rank's own, or another's where there were fewer ranks."""
        file = self.files[distributed.get_rank() % len(self.files)]
        found = {}
        for key in file.names():
            if key.startswith(_GENERATOR):
                found[key.partition("/")[2]] = state = torch.empty(
                    file.numel(key), dtype=torch.uint8
                )
                file.read_into(key, 0, state)
        return found


def _read(file: TensorFile, key: str, start: int, out: Tensor) -> None:
    if out.device.type == "cpu":
        file.read_into(key, start, out)
        return
    buffer = torch.empty(out.shape, dtype=out.dtype)
    file.read_into(key, start, buffer)
    out.copy_(buffer)


# --- where DeepSpeed keeps it -------------------------------------------------------------------------------------------


def _pieces(engine: Any) -> list[list[Piece]]:
    """What this rank keeps of the trainable parameters, in groups that are in memory at one time (see ``_resident``)."""
    named = {
        name: parameter
        for name, parameter in engine.module.named_parameters()
        if parameter.requires_grad
    }
    match engine.zero_optimization_stage():
        case 0:
            masters = _masters(engine)
            return [[Piece(name, 0, p.numel(), masters.get(p, p)) for name, p in named.items()]]
        case 1 | 2:
            return [
                [
                    _partitioned(engine, name, p)
                    for name, p in named.items()
                    if p._hp_mapping is not None
                ]
            ]
        case _:
            names = {parameter: name for name, parameter in named.items()}
            return [
                _sub_group(engine.optimizer, i, names)
                for i in range(len(engine.optimizer.fp16_groups))
            ]


def _masters(engine: Any) -> Mapping[Tensor, Tensor]:
    """Stage 0 keeps an fp32 copy of each bf16 parameter; an fp32 parameter is its own master."""
    if not engine.bfloat16_enabled():
        return {}
    groups = zip(engine.optimizer.fp16_groups, engine.optimizer.fp32_groups, strict=True)
    return {parameter: master for both in groups for parameter, master in zip(*both, strict=True)}


def _partitioned(engine: Any, name: str, parameter: Any) -> Piece:
    """Stages 1 and 2: a rank's part of the flat group may begin and end within a parameter."""
    mapping = parameter._hp_mapping
    here, there = mapping.hp_fragment_address, mapping.lp_fragment_address
    (holder,) = engine.optimizer.optimizer.param_groups[mapping.param_group_index]["params"]
    return Piece(name, there.start, there.numel, holder, here.start)


def _sub_group(optimizer: Any, index: int, names: Mapping[Tensor, str]) -> list[Piece]:
    """Stage 3: equal parts of every parameter, the last ones padded."""
    pieces, start = [], 0
    both = zip(optimizer.fp16_groups[index], optimizer.fp16_partitioned_groups[index], strict=True)
    for parameter, partition in both:
        offset = partition.ds_numel * distributed.get_rank()
        numel = min(partition.ds_numel, parameter.ds_numel - offset)
        if numel > 0:
            pieces.append(
                Piece(
                    names[parameter],
                    offset,
                    numel,
                    optimizer.fp32_partitioned_groups_flat[index],
                    start,
                )
            )
        start += partition.ds_numel
    return pieces


def _written_here(engine: Any, groups: list[list[Piece]]) -> list[list[Piece]]:
    """Under stage 0 every rank keeps everything: they take turns."""
    if engine.zero_optimization_stage():
        return groups
    return [group[distributed.get_rank() :: distributed.get_world_size()] for group in groups]


def _resident(engine: Any, groups: list[list[Piece]], *, changed: bool) -> Iterator[list[Piece]]:
    """Every group, while its tensors are in memory; ``changed``: afterwards the model's weights follow their masters."""
    if engine is None:
        return
    optimizer, stage = engine.optimizer, engine.zero_optimization_stage()
    if stage == 3:
        yield from _resident_sub_groups(optimizer, groups, changed)
        return
    yield from groups
    if changed and stage:
        optimizer.update_lp_params()
    elif changed:
        for parameter, master in _masters(engine).items():
            parameter.detach().copy_(master.detach())


def _resident_sub_groups(
    optimizer: Any, groups: list[list[Piece]], changed: bool
) -> Iterator[list[Piece]]:
    """Optimizer states that are offloaded to NVMe are swapped in for their turn."""
    if changed:
        optimizer.checkpoint_event_prologue()
    for index, group in enumerate(groups):
        swapped = optimizer._swappable_optimizer_subgroup(index)
        if swapped:
            optimizer._optimizer_states_and_gradient_swap_in(index)
        yield group
        if changed:
            optimizer._reassign_or_swap_out_partitioned_parameters(index)
        if swapped and changed:
            optimizer._optimizer_states_and_gradient_swap_out(index)
        elif swapped:
            optimizer._release_swap_buffers(index)
    if changed:
        optimizer.checkpoint_event_epilogue()


# --- Adam ---------------------------------------------------------------------------------------------------------------


def _adam(engine: Any) -> torch.optim.Optimizer:
    adam: torch.optim.Optimizer = engine.basic_optimizer
    return adam


def _adam_state(engine: Any, holder: Tensor, steps: int | None = None) -> dict[str, Any]:
    """The optimizer's state of ``holder``; made where a new engine has none yet, or a parameter never had a gradient.

    ``steps``: how many it has made. torch counts them in a tensor, which lies beside a fused optimizer's.
    """
    state: dict[str, Any] = _adam(engine).state.get(holder) or {
        kind: torch.zeros_like(holder) for kind in _MOMENTS
    }
    if steps is not None:
        device = holder.device if _adam(engine).defaults.get("fused") else "cpu"
        state["step"] = torch.tensor(float(steps), device=device)
        _adam(engine).state[holder] = state
    return state


def _adam_steps(engine: Any | None) -> int:
    return (
        max((int(state["step"]) for state in _adam(engine).state.values()), default=0)
        if engine
        else 0
    )


# --- random generators --------------------------------------------------------------------------------------------------


def _random_states() -> dict[str, Tensor]:
    """Of torch's generators on this process's devices, as bytes. Nothing in a step draws from any other."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_random_states(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
