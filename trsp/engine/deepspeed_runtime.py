"""DeepSpeed itself: its import, process group, engines and ZeRO-3 partitioning of parameters.

The only module that imports it: what must be set before, around and after that stands here.
"""

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import distributed, nn
from torch._C._distributed_c10d import HashStore

from trsp.config import EngineSettings
from trsp.engine.deepspeed_config import deepspeed_config
from trsp.errors import InvalidInputError


@contextlib.contextmanager
def _without_mlflow() -> Iterator[None]:
    """Let imports of MLflow fail meanwhile, unless it is loaded already.

    DeepSpeed imports it for its autotuner, which nothing here uses; that would add seconds to
    every start of a rank.
    """
    if "mlflow" in sys.modules:
        yield
        return
    sys.modules["mlflow"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["mlflow"]


if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
with _without_mlflow():
    import deepspeed
    from deepspeed.ops.op_builder import AsyncIOBuilder
    from deepspeed.runtime import bf16_optimizer
    from deepspeed.runtime.utils import clip_grad_norm_

logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
# It tells its use of memory four times per optimizer, and collects garbage each time: a second.
bf16_optimizer.see_memory_usage = lambda *_, **__: None
# DeepSpeed calls collectives by their former names, and torch says so at every call.
warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)


def check_offload(settings: EngineSettings) -> None:
    """Refuse, before anything is loaded, an offload to NVMe that is impossible on this machine.

    InvalidInputError where DeepSpeed cannot build its part, or ``nvme_path`` is not writable.
    """
    if "nvme" not in (settings.offload_optimizer, settings.offload_weights):
        return
    if not AsyncIOBuilder().is_compatible(verbose=False):
        raise InvalidInputError(
            "offload to nvme needs DeepSpeed's async_io, which cannot be built here: install "
            "libaio's headers (package libaio-dev) and a C++ compiler, or set offload_optimizer "
            "and offload_weights to cpu"
        )
    if not os.access(str(settings.nvme_path), os.W_OK | os.X_OK):
        raise InvalidInputError(
            f"nvme_path {settings.nvme_path} is no folder that can be written to; "
            "make it on every node"
        )


def init_distributed() -> None:
    """Join the process group described by the environment; without one, make one of a single rank.

    The group of a single rank needs no port.
    """
    if not distributed.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            distributed.init_process_group(backend)
        else:
            distributed.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    # On CPU DeepSpeed would compile a shared-memory op at first use: 20 s, and a compiler killed
    # half-way leaves a lock that hangs every later run. gloo does without it.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=distributed.get_backend(), verbose=False)


def ensure_local_rank() -> Callable[[], None]:
    """Set LOCAL_RANK to 0 where no launcher has set it, and return what undoes that.

    DeepSpeed insists on the variable; left behind, other libraries take it for a launcher's.
    """
    if "LOCAL_RANK" in os.environ:
        return lambda: None
    os.environ["LOCAL_RANK"] = "0"

    def undo() -> None:
        os.environ.pop("LOCAL_RANK", None)

    return undo


def initialize(
    model: nn.Module, learning: Sequence[nn.Parameter], config: Mapping[str, Any]
) -> Any:
    """Return DeepSpeed's engine around ``model``. LOCAL_RANK must be set (``ensure_local_rank``).

    ``learning`` are the parameters that its optimizer changes; without any it has no optimizer.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its use of memory
        engine = deepspeed.initialize(
            model=model, model_parameters=list(learning) or None, config=dict(config)
        )[0]
    if learning and engine.zero_optimization_stage() == 0:
        _forget_step_at_birth(engine)
        engine.clip_fp32_gradients = partial(_clip_noting_norm, engine)
    return engine


def _clip_noting_norm(engine: Any) -> None:
    """Clip the gradients of fp32 weights without ZeRO, as DeepSpeed does, and keep their norm.

    DeepSpeed drops it there, and a step with a NaN gradient would pass unnoticed.
    """
    engine._global_grad_norm = clip_grad_norm_(
        engine.module.parameters(), max_norm=engine.gradient_clipping()
    )


def _forget_step_at_birth(engine: Any) -> None:
    """Clear Adam's state.

    In bf16 DeepSpeed makes a step of its own (at rate 0), which Adam's bias correction would count.
    """
    engine.basic_optimizer.state.clear()


def forget_gradients(engine: Any) -> None:
    """Zero the last gradients, which stage 3 and offloaded optimizers keep.

    That of a parameter that gets none now (its layer is bypassed since) would go on counting when
    gradients are clipped. On NVMe it goes on changing that layer's own weights, which will be
    deleted, and no others.
    """
    optimizer = engine.optimizer
    partitioned = engine.zero_optimization_partition_weights()
    if partitioned:
        optimizer.grad_partitions_flat_buffer.zero_()
    if not engine.zero_use_cpu_optimizer():
        return
    optimizer.norm_for_param_grads.clear()
    if partitioned:
        masters = optimizer.fp32_partitioned_groups_flat
    else:
        masters = optimizer.single_partition_of_fp32_groups
    for master in masters:
        if master.grad is not None:  # on NVMe it is not in memory
            master.grad.zero_()


def partitioner(settings: EngineSettings, dtype: torch.dtype) -> Callable[[nn.Parameter], None]:
    """Return what turns a whole parameter of ``dtype`` into a ZeRO-3 one, in place.

    ``init_distributed`` comes first. Only this rank's share of a parameter is copied, to where
    ``settings`` keep weights, without communication. (``zero.Init`` as a context or on a module
    would send every parameter whole to every rank.)
    """
    config = deepspeed_config(
        settings,
        None,
        bf16=dtype == torch.bfloat16,
        parameters=1,
        micro_batch=1,
        micro_steps=1,
        pin_memory=torch.cuda.is_available(),
    )
    undo_local_rank = ensure_local_rank()
    zero = deepspeed.zero.Init(config_dict_or_path=config)
    undo_local_rank()

    def partition(parameter: Any) -> None:
        zero._convert_to_deepspeed_param(parameter)
        parameter.partition()

    return partition
