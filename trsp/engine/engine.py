"""The training loop of both stages, through DeepSpeed.

The effective batch is given in blocks and fixed; ranks and micro-batches only share it out. Gates are L fp32 scalars that
live beside the engine, in their own AdamW, all-reduced by hand: DeepSpeed would cast them to the model's precision.
"""

import math
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor, distributed, nn
from torch.utils.checkpoint import checkpoint

from trsp.architecture.decoders import decoder_layers
from trsp.config import EngineSettings
from trsp.distributed.collectives import all_reduce_mean
from trsp.distributed.zero3_parameters import (
    drop_gathered,
    is_partitioned,
    is_sharded,
    whole_numel,
    whole_tensor,
)
from trsp.engine.deepspeed_config import deepspeed_config
from trsp.engine.deepspeed_runtime import check_offload, init_distributed, initialize
from trsp.engine.engine_state import load_state, save_state
from trsp.engine.gate_optimizer import GateOptimizer
from trsp.engine.optimizer_config import OptimizerConfig
from trsp.errors import InvalidInputError, TrainingDivergedError, TrspError
from trsp.losses import lm_loss
from trsp.training.micro_batches import BatchShard
from trsp.training.model_restore import ModelRestorer


@dataclass(frozen=True)
class StepLosses:
    """Means over the effective batch: the LM loss in nats a token, and the unweighted penalty."""

    lm: float
    penalty: float


class Engine:
    """A model under DeepSpeed. ``optimization`` None: the weights are frozen and only gates learn.

    ``trained``: the parameters that learn, if not all of them. Effective batches have ``blocks_per_step`` rows.
    A context manager: leaving it gives the model back as a plain module (``finish``).
    """

    def __init__(
        self,
        model: Any,
        settings: EngineSettings,
        blocks_per_step: int,
        optimization: OptimizerConfig | None = None,
        trained: Collection[nn.Parameter] | None = None,
    ) -> None:
        if is_sharded(model) and settings.zero_stage != 3:
            raise InvalidInputError(
                f"zero_stage {settings.zero_stage} for a model whose weights are spread over the ranks; it needs ZeRO 3: set "
                "engine.zero_stage to 3, or load the model whole"
            )
        if settings.offload_weights == "nvme" and not is_sharded(
            model
        ):  # DeepSpeed would take fp32 weights there as bf16
            raise InvalidInputError(
                "offload_weights: nvme for a model that was loaded whole; it must be there from the start: load it with "
                "trsp.engine.load_sharded.load_sharded, or set offload_weights to cpu"
            )
        check_offload(settings)
        init_distributed()
        self.model = model
        self._optimization = optimization
        self._share = BatchShard(
            blocks_per_step,
            settings.micro_batch,
            distributed.get_world_size(),
            distributed.get_rank(),
        )
        self._step = 0
        self._plain, self._linear = ModelRestorer(model), nn.functional.linear
        self._born_sharded = frozenset(
            parameter for parameter in model.parameters() if is_partitioned(parameter)
        )
        learning = set(trained or model.parameters()) if optimization else set()
        for parameter in model.parameters():
            parameter.requires_grad_(parameter in learning)
        if settings.activation_checkpointing:
            _checkpoint_activations(model)
        # DeepSpeed insists on this variable; left behind, other libraries take it for a launcher's.
        self._alone = "LOCAL_RANK" not in os.environ
        os.environ.setdefault("LOCAL_RANK", "0")
        self._engine = initialize(
            model, [each for each in model.parameters() if each in learning], self._config(settings)
        )
        if optimization and self._engine.zero_optimization_stage() == 0:
            # In bf16 DeepSpeed makes a step of its own (at rate 0), which Adam's bias correction would count.
            self._engine.basic_optimizer.state.clear()
        # With frozen weights the engine refuses a backward pass; its ZeRO-3 hooks sit on the modules and work without it.
        self._forward = self._engine if optimization else model

    def _config(self, settings: EngineSettings) -> dict[str, Any]:
        return deepspeed_config(
            settings,
            self._optimization,
            bf16=next(self.model.parameters()).dtype == torch.bfloat16,
            parameters=whole_numel(self.model.parameters()),
            micro_batch=self._share.micro_batch,
            micro_steps=self._share.micro_steps,
            pin_memory=torch.cuda.is_available(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Our own errors are raised on all ranks together; after any other, one rank must not wait for the rest."""
        if (
            kind is None
            or issubclass(kind, TrspError | GeneratorExit)
            or distributed.get_world_size() == 1
        ):
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
        for rows_BT, factor in self._share.micro_batches(blocks_BT.to(self._engine.device)):
            logits_BTV = self._forward(input_ids=rows_BT, use_cache=False).logits
            lm, extra = lm_loss(logits_BTV, rows_BT), penalty()
            self._backward(factor * (lm if extra is None else lm + weight * extra))
            if factor:
                lm_total += factor * lm.item()
                penalty_total += 0.0 if extra is None else factor * extra.item()
        if gates is not None:
            gates.step()
        self._step += 1
        losses = StepLosses(*all_reduce_mean(lm_total, penalty_total))
        # DeepSpeed leaves out a step whose gradient is not finite (under ZeRO 1 to 3), and says so nowhere else.
        norm = float(self._engine.get_global_grad_norm() or 0.0)
        if not all(math.isfinite(value) for value in (losses.lm, losses.penalty, norm)):
            raise TrainingDivergedError(
                f"step {self._step}: the LM loss became {losses.lm}, the penalty {losses.penalty}, the norm of the gradient "
                f"{norm}; lower the learning rate"
            )
        return losses

    def _backward(self, loss: Tensor) -> None:
        if self._optimization:
            self._engine.backward(loss, scale_wrt_gas=False)
            self._engine.step()
        else:
            loss.backward()

    def _prepare(self, rate: float) -> None:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate
        self._forget_gradients()

    def _forget_gradients(self) -> None:
        """Stage 3 and offloaded optimizers keep the last gradient of a parameter that gets none now (a layer bypassed
        since), and clip by it. On NVMe it goes on changing that layer's own weights, which will be deleted, and no others.
        """
        engine, optimizer = self._engine, self._engine.optimizer
        partitioned = engine.zero_optimization_partition_weights()
        if partitioned:
            optimizer.grad_partitions_flat_buffer.zero_()
        if engine.zero_use_cpu_optimizer():
            optimizer.norm_for_param_grads.clear()
            masters = (
                optimizer.fp32_partitioned_groups_flat
                if partitioned
                else optimizer.single_partition_of_fp32_groups
            )
            for master in masters:
                if master.grad is not None:  # on NVMe it is not in memory
                    master.grad.zero_()

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
        cut = [
            each
            for each in self.model.parameters()
            if is_partitioned(each) and each not in self._born_sharded
        ]
        whole = {parameter: whole_tensor(parameter) for parameter in cut}
        self._engine.destroy()
        if self._alone:
            os.environ.pop("LOCAL_RANK", None)
        self._plain.restore(whole)
        drop_gathered(self._born_sharded)
        nn.functional.linear = self._linear  # ZeRO-3 puts its own in its place, for good


def _checkpoint_activations(model: Any) -> None:
    """Recompute each layer in the backward pass. Not by the model's own switch, which works in training mode only.

    Hooks of the layers (gates, drift) stay outside: they run once.
    """
    for layer in decoder_layers(model):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
