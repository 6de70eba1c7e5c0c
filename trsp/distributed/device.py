"""Where tensors live and in what precision.

Knows torch and environment variables; nothing of models, data or stages.
"""

import contextlib
import gc
import os
import random
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from trsp.config import Precision
from trsp.distributed.zero3_parameters import is_partitioned
from trsp.errors import InvalidInputError, unknown_name

LARGE_BYTES = 1 << 26  # of memory that is worth looking for

_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"  # proc(5), /proc/pid/clear_refs: the peak resident set becomes the present one
_NAMED: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp32": torch.float32}


def default_device() -> torch.device:
    """This process's accelerator, or the CPU where there is none.

    The accelerator is ``cuda:LOCAL_RANK`` under a launcher, else ``cuda:0``.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def resolve_dtype(precision: Precision, config_dtype: torch.dtype | str | None) -> torch.dtype:
    """The dtype of the weights.

    ``config_dtype`` is ``dtype`` (formerly ``torch_dtype``) of the checkpoint's config. ``auto``
    keeps it, with two exceptions: float16 becomes bfloat16, because training in float16 needs loss
    scaling; a checkpoint that names none is float32, which is what files without the key hold
    (gpt2). InvalidInputError for any other precision, and for a config that names no dtype of
    floating-point numbers.
    """
    if precision in _NAMED:
        return _NAMED[precision]
    if precision != "auto":
        raise InvalidInputError(unknown_name("precision", str(precision), ("auto", *_NAMED)))
    return torch.float32 if config_dtype is None else _trainable_dtype(config_dtype)


def _trainable_dtype(config_dtype: torch.dtype | str) -> torch.dtype:
    """The dtype of a config, bfloat16 for float16. InvalidInputError: it is none of floats."""
    name = str(config_dtype).removeprefix("torch.")
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InvalidInputError(
            f"config.json: dtype is {name!r}; float32, bfloat16 or float16 is needed: correct it, "
            "or say precision: bf16 or fp32"
        )
    return torch.bfloat16 if dtype is torch.float16 else dtype


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's generators, on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def placement(model: nn.Module) -> frozenset[str]:
    """The places of a model's weights within this process: ``cuda:0``, ``cpu``, ``disk``.

    Several where it was spread over GPUs, or waits in part on the host or a disk; then transformers
    has left its map of them, in which GPUs are numbers. What ZeRO-3 has cut up is nowhere here.
    """
    spread = vars(model).get("hf_device_map") or {}
    places = {
        f"cuda:{place}" if isinstance(place, int) else str(place) for place in spread.values()
    }
    if len(places) > 1:
        return frozenset(places)
    return frozenset(str(each.device) for each in model.parameters() if not is_partitioned(each))


def free_memory_bytes(device: torch.device) -> int:
    """The memory of a GPU that new tensors of this process may take, in bytes.

    What torch keeps of freed tensors counts as free; what is beyond this process's share does not.
    """
    free_bytes, total_bytes = torch.cuda.mem_get_info(device)
    taken = torch.cuda.memory_allocated(device)
    kept = torch.cuda.memory_reserved(device) - taken
    share = torch.cuda.get_per_process_memory_fraction(device) * total_bytes - taken
    return max(0, int(min(free_bytes + kept, share)))


@contextlib.contextmanager
def sharing_memory(part: float, beside_bytes: int) -> Iterator[None]:
    """While open, this process keeps within its ``part`` of each of its GPUs' memory.

    ``beside_bytes`` of that are for what is there beside torch's tensors. Tensors that would need
    more are out of memory, as on a GPU of that size.
    """
    gpus = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    for gpu in gpus:
        beside = beside_bytes / torch.cuda.get_device_properties(gpu).total_memory
        torch.cuda.set_per_process_memory_fraction(max(0.0, part - beside), gpu)
    try:
        yield
    finally:
        for gpu in gpus:
            torch.cuda.set_per_process_memory_fraction(1.0, gpu)


def free_unreachable(held_bytes: int) -> None:
    """Free objects that only they themselves still refer to, where they hold much (``held_bytes``).

    Python finds them by itself, but at some later time; to look for them takes a third of a second.
    Pinned host memory that torch keeps for later is given back as well.
    """
    if held_bytes >= LARGE_BYTES:
        gc.collect()
    if torch.cuda.is_available():
        torch.accelerator.empty_host_cache()


def kept_host_bytes() -> int:
    """Return the bytes of pinned host memory that torch keeps for the next who wants such memory.

    The system counts them as taken. 0 where there is no accelerator.
    """
    if not torch.cuda.is_available():
        return 0
    stats = torch.cuda.host_memory_stats()
    return int(stats["allocated_bytes.current"] - stats["active_bytes.current"])


def devices_of(model: nn.Module) -> list[torch.device]:
    """The devices that ``model`` computes on: where its weights and buffers lie, each once."""
    tensors = (*model.parameters(), *model.buffers())
    found = {tensor.device for tensor in tensors if not tensor.is_meta}
    return sorted(found, key=str)


def synchronize(*devices: torch.device) -> None:
    """Wait for the work queued on ``devices``, so that a clock read after it is honest."""
    for device in devices:
        if device.type == "cuda":
            torch.cuda.synchronize(device)


def reset_peak_memory(*devices: torch.device) -> None:
    """Start a new peak: on accelerators, and on the CPU where Linux lets us.

    Elsewhere it stays the peak of all time.
    """
    for device in devices:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif _STATUS.exists():
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text(_RESET_PEAK)


def peak_memory_bytes(*devices: torch.device) -> int:
    """The peak since the last reset, in bytes, summed over the accelerators among ``devices``.

    That of the tensors on an accelerator, each at its own moment. Without any it is that of this
    process's resident set, on Linux not by ``ru_maxrss``, which begins with the size of whoever
    started this process.
    """
    accelerators = [device for device in devices if device.type == "cuda"]
    if accelerators:
        return sum(int(torch.cuda.max_memory_allocated(device)) for device in accelerators)
    status = _STATUS.read_text() if _STATUS.exists() else ""
    if peak := re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE):
        return int(peak[1]) * 1024
    maximum = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return maximum if sys.platform == "darwin" else maximum * 1024  # bytes on macOS, else KiB
