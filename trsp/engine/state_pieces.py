"""Where DeepSpeed keeps what a training changes: fp32 masters and Adam's state, per ZeRO stage.

Stage 0 keeps each parameter whole, stages 1 and 2 a part of one flat buffer that may begin and end
within a parameter, stage 3 an equal part of each. Here they become ``Piece``s: ranges of named
parameters, which mean the same under every stage. Knows no files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

MOMENTS = ("exp_avg", "exp_avg_sq")  # Adam's, as torch calls them


@dataclass(frozen=True)
class Piece:
    """A range of a parameter's elements that this rank keeps.

    It has ``numel`` elements, from ``offset`` on in the parameter and from ``start`` on in
    ``holder``, the tensor that the optimizer knows: a master copy, or a flat group of them.
    """

    name: str
    offset: int
    numel: int
    holder: Tensor
    start: int = 0

    def of(self, tensor: Tensor) -> Tensor:
        """This range of the holder, or of a tensor of its shape, as a flat view."""
        return tensor.detach().view(-1).narrow(0, self.start, self.numel)


# --- the pieces of a rank ---------------------------------------------------


def pieces(engine: Any) -> list[list[Piece]]:
    """What this rank keeps of the trainable parameters, in groups ``resident`` at one time."""
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
            kept = {name: p for name, p in named.items() if p._hp_mapping is not None}
            return [[_fragment(engine, name, p) for name, p in kept.items()]]
        case _:
            names = {parameter: name for name, parameter in named.items()}
            indices = range(len(engine.optimizer.fp16_groups))
            return [_sub_group(engine.optimizer, index, names) for index in indices]


def written_here(engine: Any, groups: list[list[Piece]]) -> list[list[Piece]]:
    """The pieces that this rank writes: its own, and under stage 0, where all keep all, some."""
    if engine.zero_optimization_stage():
        return groups
    return [group[distributed.get_rank() :: distributed.get_world_size()] for group in groups]


def _masters(engine: Any) -> Mapping[Tensor, Tensor]:
    """Stage 0's fp32 copy of each bf16 parameter; empty in fp32, where each is its own master."""
    if not engine.bfloat16_enabled():
        return {}
    masters: dict[Tensor, Tensor] = {}
    optimizer = engine.optimizer
    for parameters, copies in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True):
        masters.update(zip(parameters, copies, strict=True))
    return masters


def _fragment(engine: Any, name: str, parameter: Any) -> Piece:
    """Stages 1 and 2: a rank's part of the flat group may begin and end within a parameter."""
    mapping = parameter._hp_mapping
    here, there = mapping.hp_fragment_address, mapping.lp_fragment_address
    (holder,) = engine.optimizer.optimizer.param_groups[mapping.param_group_index]["params"]
    return Piece(name, there.start, there.numel, holder, here.start)


def _sub_group(optimizer: Any, index: int, names: Mapping[Tensor, str]) -> list[Piece]:
    """Stage 3: equal parts of every parameter, the last ones padded."""
    holder = optimizer.fp32_partitioned_groups_flat[index]
    group: list[Piece] = []
    start = 0
    both = zip(optimizer.fp16_groups[index], optimizer.fp16_partitioned_groups[index], strict=True)
    for parameter, partition in both:
        offset = partition.ds_numel * distributed.get_rank()
        numel = min(partition.ds_numel, parameter.ds_numel - offset)
        if numel > 0:
            group.append(Piece(names[parameter], offset, numel, holder, start))
        start += partition.ds_numel
    return group


# --- in memory, one group after the other -----------------------------------


def resident(engine: Any, groups: list[list[Piece]], *, changed: bool) -> Iterator[list[Piece]]:
    """Yield every group while its tensors are in memory.

    Where they are ``changed`` meanwhile, the model's weights follow their masters afterwards.
    """
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
    """Stage 3: optimizer states that are offloaded to NVMe are swapped in for their turn."""
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


# --- Adam -------------------------------------------------------------------


def adam_state(engine: Any, holder: Tensor, steps: int | None = None) -> dict[str, Any]:
    """The optimizer's state of ``holder``, by torch's names.

    It is new where the engine has none yet, or a parameter never had a gradient. ``steps`` sets the
    number of steps done; torch counts them in a tensor, which lies beside a fused optimizer's.
    """
    adam = _adam(engine)
    state: dict[str, Any] = adam.state.get(holder) or {
        kind: torch.zeros_like(holder) for kind in MOMENTS
    }
    if steps is not None:
        device = holder.device if adam.defaults.get("fused") else "cpu"
        state["step"] = torch.tensor(float(steps), device=device)
        adam.state[holder] = state
    return state


def adam_steps(engine: Any) -> int:
    """How many steps the optimizer has made; 0 for a new one."""
    return max((int(state["step"]) for state in _adam(engine).state.values()), default=0)


def _adam(engine: Any) -> torch.optim.Optimizer:
    adam: torch.optim.Optimizer = engine.basic_optimizer
    return adam
