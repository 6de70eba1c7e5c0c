"""What happens between two steps of a training loop: signs of life, snapshots, and leaving when told to.

Knows the process group, for all ranks must decide alike; nothing of engines, losses or stores.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import distributed

from trsp.device import default_device
from trsp.errors import PreemptedError
from trsp.snapshots import Snapshots


class Progress:
    """Given to a loop by whoever runs it. Without arguments it does nothing, at no cost.

    ``every_s``, ``every_steps``: a snapshot is taken when either has passed since the last one; rank 0's clock decides.
    ``beat`` is called after every step; ``leaving`` is asked then, and when it is true on any rank, all ranks take a last
    snapshot and raise PreemptedError.
    """

    def __init__(
        self,
        snapshots: Snapshots | None = None,
        every_s: float = 600.0,
        every_steps: int | None = None,
        beat: Callable[[], None] = lambda: None,
        leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        self.snapshots = snapshots
        self.beat = beat
        self._every_s, self._every_steps, self._leaving = every_s, every_steps, leaving
