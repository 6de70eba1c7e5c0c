"""The training step of both stages, through DeepSpeed.

The effective batch is given in blocks and fixed; ranks and micro-batches only share it out. Gates
are L fp32 scalars that live beside the engine, in their own AdamW, all-reduced by hand: DeepSpeed
would cast them to the model's precision.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor, distributed, nn

from trsp.config import EngineSettings
from trsp.distributed.collectives import all_reduce_mean
from trsp.distributed.device import free_unreachable
from trsp.distributed.finite_weights import check_intact
from trsp.distributed.own_storage import give_own_storage
from trsp.distributed.zero3_parameters import (
    drop_gathered,
    is_partitioned,
    whole_numel,
    whole_tensor,
)
from trsp.engine.deepspeed_config import deepspeed_config
from trsp.engine.deepspeed_runtime import (
    ensure_local_rank,
    forget_gradients,
    init_distributed,
    initialize,
)
from trsp.engine.engine_state import copy_state, load_state, save_state
from trsp.engine.gate_optimizer import GateOptimizer
from trsp.engine.host_copy import HostCopy
from trsp.engine.optimizer_config import OptimizerConfig
from trsp.engine.preparation import checkpoint_activations, require_gradients
from trsp.engine.refusals import check_trainable
from trsp.errors import InvalidInputError, TrainingDivergedError, TrspError
from trsp.losses import lm_loss
from trsp.training.micro_batches import BatchShard
from trsp.training.model_restore import ModelRestorer

_STATE_BYTES = 12  # of a trained number: its master in fp32 and Adam's two moments


@dataclass(frozen=True)
class StepLosses:
    """Means over the effective batch: the LM loss in nats per token, and the unweighted penalty."""

    lm: float
    penalty: float


class Engine:
    """A model under DeepSpeed, for steps over effective batches of ``blocks_per_step`` rows.

    ``optimizer_config`` is None where the weights are frozen and only gates learn. ``trained`` are
    the parameters that learn, if not all of them. InvalidInputError for ``settings`` that cannot
    train this model here, and for weights that are not finite. A context manager, which gives the
    model back as a plain module (``finish``).
    """

    def __init__(
        self,
        model: Any,
        settings: EngineSettings,
        blocks_per_step: int,
        optimizer_config: OptimizerConfig | None = None,
        trained: Collection[nn.Parameter] | None = None,
    ) -> None:
        check_trainable(model, settings)
        init_distributed()
        check_intact(model, "such a model is not trained")
        self.model = model
        self._optimizer_config = optimizer_config
        world_size, rank = distributed.get_world_size(), distributed.get_rank()
        self._shard = BatchShard(blocks_per_step, settings.micro_batch, world_size, rank)
        self._step = 0
        self._restorer, self._linear = ModelRestorer(model), nn.functional.linear
        self._born_sharded = frozenset(filter(is_partitioned, model.parameters()))
        learning = require_gradients(model, trained, trains=optimizer_config is not None)
        if settings.activation_checkpointing:
            checkpoint_activations(model)
        self._undo_local_rank = ensure_local_rank()  # for as long as the engine lives
        self._engine: Any = initialize(model, learning, self._deepspeed_config(settings))
        self._learning = learning
        # With frozen weights the engine refuses a backward pass; its ZeRO-3 hooks sit on the
        # modules and work without it.
        self._forward: Any = self._engine if optimizer_config else model

    def _deepspeed_config(self, settings: EngineSettings) -> dict[str, Any]:
        return deepspeed_config(
            settings,
            self._optimizer_config,
            bf16=next(self.model.parameters()).dtype == torch.bfloat16,
            parameters=whole_numel(self.model.parameters()),
            micro_batch=self._shard.micro_batch,
            micro_steps=self._shard.micro_steps,
            pin_memory=torch.cuda.is_available(),
            ranks=distributed.get_world_size(),
        )

    @property
    def vocabulary(self) -> int:
        """The number of tokens that the model chooses from."""
        return int(self.model.config.vocab_size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish, unless one rank would wait for the rest.

        Our own errors are raised on all ranks together; after any other, the rest may never come.
        """
        raised_on_all = kind is None or issubclass(kind, TrspError | GeneratorExit)
        if raised_on_all or distributed.get_world_size() == 1:
            self.finish()

    def step(
        self,
        blocks_BT: Tensor,
        penalty: Callable[[], Tensor | None] = lambda: None,
        weight: float = 0.0,
        gates: GateOptimizer | None = None,
    ) -> StepLosses:
        """Make one optimizer step on ``LM loss + weight * penalty()``; return both losses.

        ``blocks_BT`` is an effective batch [B, T] of token ids. ``penalty`` is called after every
        forward pass; it may give None. TrainingDivergedError, on all ranks, where a loss or the
        norm of the gradient is not finite; of the very first step, InvalidInputError.
        """
        if self._optimizer_config:
            self._set_rate(self._optimizer_config.rate(self._step))
            forget_gradients(self._engine)
        totals = self._forward_and_backward(blocks_BT, penalty, weight)
        losses = StepLosses(*all_reduce_mean(*totals))
        self._check_finite(losses)
        if gates is not None:
            gates.step()
        self._step += 1
        return losses

    @torch.no_grad()
    def loss(self, blocks_BT: Tensor) -> float:
        """Return the LM loss of an effective batch [B, T], in nats per token; nothing is trained.

        Called on all ranks. What hooks measure meanwhile is theirs to forget.
        """
        total = torch.zeros((), dtype=torch.float64, device=self._engine.device)
        for rows_BT, factor in self._shard.micro_batches(blocks_BT.to(self._engine.device)):
            logits_BTV = self.model(input_ids=rows_BT, use_cache=False).logits
            total += factor * lm_loss(logits_BTV, rows_BT)
        return all_reduce_mean(total.item())[0]

    def _forward_and_backward(
        self, blocks_BT: Tensor, penalty: Callable[[], Tensor | None], weight: float
    ) -> tuple[float, float]:
        """Pass all micro-batches through; return LM loss and penalty, weighted for this rank."""
        totals = torch.zeros(2, dtype=torch.float64, device=self._engine.device)
        for rows_BT, factor in self._shard.micro_batches(blocks_BT.to(self._engine.device)):
            logits_BTV = self._forward(input_ids=rows_BT, use_cache=False).logits
            lm, extra = lm_loss(logits_BTV, rows_BT), penalty()
            self._backward(factor * (lm if extra is None else lm + weight * extra))
            if factor:
                totals[0] += factor * lm.detach()
                if extra is not None:
                    totals[1] += factor * extra.detach()
        lm_total, penalty_total = totals.tolist()  # waits for the device, once per step
        return lm_total, penalty_total

    def _set_rate(self, rate: float) -> None:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate

    def _backward(self, loss: Tensor) -> None:
        if self._optimizer_config:
            self._engine.backward(loss, scale_wrt_gas=False)
            self._engine.step()
        else:
            loss.backward()

    def _check_finite(self, losses: StepLosses) -> None:
        """Raise TrainingDivergedError where a loss or the norm of the gradient is not finite.

        Of the first step, InvalidInputError. DeepSpeed leaves out such steps and does not say so.
        """
        norm = float(self._engine.get_global_grad_norm() or 0.0)
        if all(math.isfinite(value) for value in (losses.lm, losses.penalty, norm)):
            return
        found = (
            f"{losses.lm:.4g}, the penalty {losses.penalty:.4g}, "
            f"the norm of the gradient {norm:.4g}"
        )
        if self._step == 0:
            raise InvalidInputError(
                f"before anything is trained the LM loss is {found}; compute in fp32, or lower "
                "the strength of the penalty"
            )
        raise TrainingDivergedError(
            f"step {self._step + 1}: the LM loss became {found}; lower the learning rate"
        )

    def save_state(self, stream: BinaryIO) -> int:
        """Write this rank's share of what the next steps depend on; return the bytes written.

        That is weights, optimizer and random generators, as safetensors. Called on all ranks; the
        ``load_state`` of any layout takes it.
        """
        return save_state(self._training_engine, stream, {"steps": str(self._step)})

    def copy_state(self) -> HostCopy | None:
        """Return a copy of what ``save_state`` would write now, to be written later.

        None where that is little, or the host has no room for it. Called on all ranks.
        """
        return copy_state(self._training_engine, {"steps": str(self._step)})

    def load_state(self, streams: Sequence[BinaryIO]) -> None:
        """Go on where the ranks that wrote ``streams``, in their order, stood. On all ranks."""
        self._step = int(load_state(self._training_engine, streams)["steps"])

    @property
    def _training_engine(self) -> Any | None:
        """DeepSpeed's engine where it holds an optimizer."""
        return self._engine if self._optimizer_config else None

    def finish(self) -> None:
        """Give the model back as it came, with its trained weights, no gradients and no engine.

        Called on all ranks. A parameter that came whole is whole again, on every rank, in memory of
        its own; one that came as a partition is one still. Of what trained, nothing stays in
        memory.
        """
        whole = {
            parameter: whole_tensor(parameter)
            for parameter in self.model.parameters()
            if is_partitioned(parameter) and parameter not in self._born_sharded
        }
        self._engine.destroy()
        self._undo_local_rank()
        self._restorer.restore(whole)
        drop_gathered(self._born_sharded)
        nn.functional.linear = self._linear  # ZeRO-3 puts its own in its place, for good
        self._engine = self._forward = None
        free_unreachable(whole_numel(self._learning) * _STATE_BYTES)
        give_own_storage(self.model)
