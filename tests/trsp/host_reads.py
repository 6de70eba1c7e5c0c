"""Every read of a tensor's values by the host: on a GPU each waits for all that is queued there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

_READS = ("item", "tolist", "__float__", "__int__")


@contextmanager
def host_reads() -> Iterator[list[str]]:
    """Collect the names of the methods by which tensors are read while this is open.

    ``__bool__`` is left out: transformers looks at its positions once per forward pass.
    """
    reads: list[str] = []

    def counted(name: str) -> Any:
        read = getattr(torch.Tensor, name)

        def counting(tensor: torch.Tensor) -> Any:
            reads.append(name)
            return read(tensor)

        return counting

    with mock.patch.multiple(torch.Tensor, **{name: counted(name) for name in _READS}):
        yield reads
