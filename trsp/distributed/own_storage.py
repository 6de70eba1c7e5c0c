"""Weights that lie in memory of their own, as after loading.

What a training library flattened, or a file was mapped for, stays in memory as a whole as long as a
part of it is used. Knows no library.
"""

import torch
from torch import nn


def give_own_storage(model: nn.Module) -> None:
    """Move every parameter and buffer that is a part of something larger into memory of its own.

    Values, devices and the parameters themselves stay as they are; tied ones stay tied. At most one
    of them at a time is there twice, and what torch keeps of freed memory on a GPU is given back.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size():
            tensor.data = tensor.detach().clone(memory_format=torch.contiguous_format)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
