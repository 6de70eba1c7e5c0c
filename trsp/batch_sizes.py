"""How many rows a forward pass without gradients takes at once, where nobody has said.

As many as keep the device busy, and on a GPU as fit into the memory that is free. Results depend
on it by rounding alone. Knows models and devices; no texts, scores or stages.
"""

from transformers import PreTrainedModel

from trsp.architecture.shape import ModelShape, model_shape
from trsp.chunk_sizes import (
    CPU_PASS_TOKENS,
    GPU_PASS_TOKENS,
    rows_per_pass,
    scored_logits_at_once,
)
from trsp.distributed.device import devices_of, free_memory_bytes

_SHARE_OF_FREE = 0.5  # of a GPU's free memory: what a pass takes is estimated
_LOGITS_COPIES = 3  # the logits, those that are scored, and their log-softmax
_SCORED_BYTES = 2 * 4  # of each logit that is scored at once: two copies in fp32


def rows_at_once(model: PreTrainedModel, tokens: int) -> int:
    """Return how many rows of ``tokens`` a forward pass of ``model`` takes; at least one."""
    return rows_per_pass(tokens, tokens_at_once(model, tokens))


def tokens_at_once(model: PreTrainedModel, row_tokens: int) -> int:
    """Return how many tokens a forward pass of ``model`` takes, in rows of ``row_tokens`` at most.

    A model that is spread over several GPUs may have its logits on any of them; where a part of it
    waits on the host or a disk, it is the others that compute.
    """
    devices = devices_of(model)
    if not devices or any(device.type == "cpu" for device in devices):
        return CPU_PASS_TOKENS
    free_bytes = min(free_memory_bytes(device) for device in devices)
    shape = model_shape(model.config.to_dict())
    return tokens_on_gpu(shape, row_tokens, model.dtype.itemsize, free_bytes)


def tokens_on_gpu(shape: ModelShape, row_tokens: int, weight_bytes: int, free_bytes: int) -> int:
    """Return the tokens that keep a GPU busy and fit into half of ``free_bytes``.

    The other half holds at least the logits that are scored at once, however few are free.
    """
    of_layer = shape.passing_per_token * weight_bytes + row_tokens * shape.square_bytes
    of_logits = _LOGITS_COPIES * shape.vocabulary * weight_bytes
    scored = min(scored_logits_at_once(on_gpu=True), shape.vocabulary * GPU_PASS_TOKENS)
    room = min(int(_SHARE_OF_FREE * free_bytes), max(0, free_bytes - _SCORED_BYTES * scored))
    return min(GPU_PASS_TOKENS, room // (of_layer + of_logits))
