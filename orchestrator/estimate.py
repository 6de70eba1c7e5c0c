"""Peak memory of a stage under a layout, and the cheapest layout that fits. Pure: knows no cluster, store, torch or file.

Bytes everywhere. A GPU's rank is limited by its GPU; without GPUs it is limited by the memory of its host.
"""

from dataclasses import dataclass
from typing import Literal

from orchestrator.grid import Resources
from orchestrator.layout import Capacity, Layout
from orchestrator.stages import StageSpec
from trsp.config import EngineSettings
from trsp.shape import ModelShape


@dataclass(frozen=True)
class DoesNotFit:
    """No layout of this stage fits: why, and what would be needed, in one line for people."""

    reason: str


def layout_for(
    spec: StageSpec,
    shape: ModelShape | None,
    capacity: Capacity,
    resources: Resources,
    engine: EngineSettings | Literal["auto"] = "auto",
) -> Layout | DoesNotFit:
    """The cheapest layout of the stage that fits, the same for the same arguments.

    ``shape`` None: nothing is known of the model, and no memory is estimated (``memory_bytes`` 0).
    """
    gpus = int(capacity.gpus > 0 if resources.use_gpus == "auto" else resources.use_gpus)
    ranks = 1 if resources.ranks == "auto" else resources.ranks
    return Layout(ranks, resources.cpus_per_rank, gpus, 0, EngineSettings() if engine == "auto" else engine)
