"""The training loop of both stages, through DeepSpeed. The only file that imports it.

The effective batch is given in blocks and fixed; ranks and micro-batches only share it out. Gates are L fp32 scalars that
live beside the engine, in their own AdamW, all-reduced by hand: DeepSpeed would cast them to the model's precision.
"""

import logging
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor, distributed, nn
from torch._C._distributed_c10d import HashStore
from torch.utils.checkpoint import checkpoint

from trsp.config import EngineSettings
from trsp.decoders import decoder_layers
from trsp.engine_state import load_state, save_state
from trsp.errors import InvalidInputError, TrainingDivergedError, TrspError
from trsp.partitions import drop_gathered, is_partitioned, is_sharded, whole_numel, whole_tensor
from trsp.penalties import lm_loss
from trsp.plain import PlainModel

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
import deepspeed

logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
# DeepSpeed calls collectives by their former names, and torch says so at every call.
warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)


LARGEST_BUCKET = 500_000_000  # elements, DeepSpeed's own default; a small model need not allocate as much


@dataclass(frozen=True)
class Optimization:
    """AdamW over the model's trainable weights: linear warm-up over ``warmup_steps``, then linear to 0 at ``steps``."""

    learning_rate: float
    steps: int
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    constant: bool = False  # no schedule: the rate of a ranking may not depend on its depth

    def rate(self, step: int) -> float:
        if self.constant:
            return self.learning_rate
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / (self.warmup_steps + 1)
        return self.learning_rate * (self.steps - step) / max(1, self.steps - self.warmup_steps)


@dataclass(frozen=True)
class StepLosses:
    """Means over the effective batch: the LM loss in nats a token, and the unweighted penalty."""

    lm: float
    penalty: float


class GateOptimizer:
    """AdamW over one fp32 vector of gates, its gradient averaged over the ranks."""

    def __init__(self, gates: Tensor, learning_rate: float) -> None:
        self.gates = gates
        self._adam = torch.optim.AdamW([gates], lr=learning_rate, weight_decay=0.0)

    def step(self) -> None:
        if self.gates.grad is not None and distributed.get_world_size() > 1:
            distributed.all_reduce(self.gates.grad)
            self.gates.grad /= distributed.get_world_size()
        self._adam.step()
        self._adam.zero_grad()
        if not bool(self.gates.isfinite().all()):
            raise TrainingDivergedError(f"gates became {self.gates.tolist()}; lower the gates' learning_rate")

    def state(self) -> dict[str, list[float]]:
        """Gates and their moments, as JSON; exact."""
        kept = {"gates": self.gates, **self._adam.state[self.gates]}
        return {name: tensor.detach().cpu().view(-1).tolist() for name, tensor in kept.items()}

    def restore(self, state: Mapping[str, Sequence[float]]) -> None:
        """Go on from what ``state`` returned."""
        with torch.no_grad():
            self.gates.copy_(torch.tensor(state["gates"]))
        moments = {name: torch.tensor(state[name]).to(self.gates) for name in ("exp_avg", "exp_avg_sq")}
        self._adam.state[self.gates] = {"step": torch.tensor(state["step"][0]), **moments}


class Engine:
    """A model under DeepSpeed. ``optimization`` None: the weights are frozen and only gates learn.

    A context manager: leaving it gives the model back as a plain module (``finish``).
    """

    def __init__(
        self, model: Any, settings: EngineSettings, blocks_per_step: int, optimization: Optimization | None = None
    ) -> None:
        if is_sharded(model) and settings.zero_stage != 3:
            raise InvalidInputError(
                f"zero_stage {settings.zero_stage} for a model whose weights are spread over the ranks; it needs ZeRO 3: set "
                "engine.zero_stage to 3, or load the model whole"
            )
        init_distributed()
        self.model = model
        self._optimization = optimization
        self._micro_batch = min(settings.micro_batch, blocks_per_step)
        self._micro_steps = _micro_steps(blocks_per_step, self._micro_batch)
        self._step = 0
        self._plain, self._linear = PlainModel(model), nn.functional.linear
        self._born_sharded = frozenset(parameter for parameter in model.parameters() if is_partitioned(parameter))
        model.requires_grad_(optimization is not None)
        if settings.activation_checkpointing:
            _checkpoint_activations(model)
        config = _deepspeed_config(model, settings, optimization, self._micro_batch, self._micro_steps)
        trainable = list(model.parameters()) if optimization else None
        # DeepSpeed insists on this variable; left behind, other libraries take it for a launcher's.
        self._alone = "LOCAL_RANK" not in os.environ
        os.environ.setdefault("LOCAL_RANK", "0")
        self._engine = deepspeed.initialize(model=model, model_parameters=trainable, config=config)[0]
        # With frozen weights the engine refuses a backward pass; its ZeRO-3 hooks sit on the modules and work without it.
        self._forward = self._engine if optimization else model

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Our own errors are raised on all ranks together; after any other, one rank must not wait for the rest."""
        if kind is None or issubclass(kind, TrspError | GeneratorExit) or distributed.get_world_size() == 1:
            self.finish()

    def step(
        self,
        blocks_BT: Tensor,
        penalty: Callable[[], Tensor | None] = lambda: None,
        weight: float = 0.0,
        gates: GateOptimizer | None = None,
    ) -> StepLosses:
        """One optimizer step on ``LM loss + weight * penalty()`` over an effective batch [B, T] of token ids."""
        if self._optimization:
            self._prepare(self._optimization.rate(self._step))
        lm_total = penalty_total = 0.0
        mine = _share_of_rank(blocks_BT)
        for micro_BT in mine.to(self._engine.device).split(self._micro_batch):
            logits_BTV = self._forward(input_ids=micro_BT, use_cache=False).logits
            lm, extra = lm_loss(logits_BTV, micro_BT), penalty()
            self._backward(lm if extra is None else lm + weight * extra)
            lm_total += lm.item() / self._micro_steps
            penalty_total += 0.0 if extra is None else extra.item() / self._micro_steps
        if gates is not None:
            gates.step()
        self._step += 1
        losses = StepLosses(*_mean_over_ranks(lm_total, penalty_total, self._engine.device))
        if not (math.isfinite(losses.lm) and math.isfinite(losses.penalty)):
            raise TrainingDivergedError(
                f"step {self._step}: the LM loss became {losses.lm}, the penalty {losses.penalty}; lower the learning rate"
            )
        return losses

    def _backward(self, loss: Tensor) -> None:
        if self._optimization:
            self._engine.backward(loss)
            self._engine.step()
        else:
            (loss / self._micro_steps).backward()

    def _prepare(self, rate: float) -> None:
        optimizer = self._engine.optimizer
        for group in optimizer.param_groups:
            group["lr"] = rate
        if self._engine.zero_optimization_partition_weights():
            # Stage 3 keeps the last gradient of a parameter that gets none now (a layer bypassed since), and clips by it.
            optimizer.grad_partitions_flat_buffer.zero_()

    def save_state(self, stream: BinaryIO) -> int:
        """This rank's share of what the next steps depend on (weights, optimizer, random generators), as safetensors.

        Returns the bytes written. On all ranks; any layout's ``load_state`` takes it.
        """
        return save_state(self._trained, stream, {"steps": str(self._step)})

    def load_state(self, streams: Sequence[BinaryIO]) -> None:
        """Go on where the ranks that wrote ``streams``, in their order, stood. On all ranks together."""
        self._step = int(load_state(self._trained, streams)["steps"])

    @property
    def _trained(self) -> Any | None:
        """DeepSpeed's engine where it holds an optimizer."""
        return self._engine if self._optimization else None

    def finish(self) -> None:
        """Give the model back as it came, with its trained weights: no gradients, nothing of the engine. On all ranks.

        A parameter that came whole is whole again, on every rank; one that came as a partition is one still.
        """
        cut = [each for each in self.model.parameters() if is_partitioned(each) and each not in self._born_sharded]
        whole = {parameter: whole_tensor(parameter) for parameter in cut}
        self._engine.destroy()
        if self._alone:
            os.environ.pop("LOCAL_RANK", None)
        self._plain.put_back(whole)
        drop_gathered(self._born_sharded)
        nn.functional.linear = self._linear  # ZeRO-3 puts its own in its place, for good


def partitioner(settings: EngineSettings) -> Callable[[nn.Parameter], None]:
    """What turns a whole parameter into a ZeRO-3 one, in place and without communication; ``init_distributed`` comes first.

    Only this rank's share of it is copied, to where ``settings`` keep weights. (``zero.Init`` as a context or on a module
    would send every parameter whole to every rank.)
    """
    alone = "LOCAL_RANK" not in os.environ
    os.environ.setdefault("LOCAL_RANK", "0")
    zero = deepspeed.zero.Init(remote_device="cpu" if settings.offload_weights == "cpu" else None)
    if alone:
        os.environ.pop("LOCAL_RANK")

    def partition(parameter: Any) -> None:
        zero._convert_to_deepspeed_param(parameter)
        parameter.partition()

    return partition


def init_distributed() -> None:
    """Join the process group described by the environment, or make one of a single rank, without a port."""
    if not distributed.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            distributed.init_process_group(backend)
        else:
            distributed.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    # On CPU DeepSpeed would compile a shared-memory op at first use: 20 s, and a compiler killed half-way leaves a lock
    # that hangs every later run. gloo does without it.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=distributed.get_backend(), verbose=False)


def _micro_steps(blocks_per_step: int, micro_batch: int) -> int:
    together = micro_batch * distributed.get_world_size()
    if blocks_per_step % together:
        raise InvalidInputError(
            f"an effective batch of {blocks_per_step} blocks cannot be shared out as micro-batches of {micro_batch} on "
            f"{distributed.get_world_size()} ranks; choose engine.micro_batch so that both divide blocks_per_step"
        )
    return blocks_per_step // together


def _share_of_rank(blocks_BT: Tensor) -> Tensor:
    """This rank's rows, in order: ranks take turns in equal contiguous shares."""
    return blocks_BT.chunk(distributed.get_world_size())[distributed.get_rank()]


def _mean_over_ranks(lm: float, penalty: float, device: Any) -> tuple[float, float]:
    if distributed.get_world_size() == 1:
        return lm, penalty
    both = torch.tensor([lm, penalty], device=device, dtype=torch.float64)
    distributed.all_reduce(both)
    both /= distributed.get_world_size()
    return float(both[0]), float(both[1])


def _checkpoint_activations(model: Any) -> None:
    """Recompute each layer in the backward pass. Not by the model's own switch, which works in training mode only.

    Hooks of the layers (gates, drift) stay outside: they run once.
    """
    for layer in decoder_layers(model):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def _deepspeed_config(
    model: nn.Module, settings: EngineSettings, optimization: Optimization | None, micro_batch: int, micro_steps: int
) -> dict[str, Any]:
    """Frozen weights have nothing for ZeRO 1 and 2 to partition, so they run under stage 0 (or 3)."""
    stage = settings.zero_stage if optimization or settings.zero_stage == 3 else 0
    bucket = min(LARGEST_BUCKET, whole_numel(model.parameters()))
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": micro_steps,
        "zero_optimization": {"stage": stage, "reduce_bucket_size": bucket, "allgather_bucket_size": bucket},
        "bf16": {"enabled": next(model.parameters()).dtype == torch.bfloat16},
        "steps_per_print": 2**31,
    }
    if optimization:
        config["gradient_clipping"] = optimization.max_grad_norm
        config["optimizer"] = {
            "type": "AdamW",
            "params": {
                "lr": optimization.learning_rate,
                "weight_decay": optimization.weight_decay,
                "torch_adam": True,  # DeepSpeed's own is compiled at first use, on a GPU by a compiler that few have
            },
        }
    return config


def batch(blocks_NT: Tensor, step: int, blocks_per_step: int) -> Tensor:
    """Rows of an effective batch: [blocks_per_step, T], going round the N blocks in order."""
    rows: Sequence[int] = [(step * blocks_per_step + i) % len(blocks_NT) for i in range(blocks_per_step)]
    return blocks_NT[rows]
