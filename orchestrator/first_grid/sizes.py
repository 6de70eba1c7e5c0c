"""How much a first grid computes: as near to the published sizes as time allows. Pure.

The estimate is a rough one, of the operations alone; ``trsp plan`` has the better.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.first_grid.machine import Machine
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.expected.durations import estimated_s
from orchestrator.scheduler.expected.effort import FORWARD, THROUGH_FROZEN, TRAINED, Effort
from trsp.architecture.shape import ModelShape

TRAININGS, CHECKPOINTS = 4, 6  # of a first grid, for each ratio: two orders; drift, heal and none
# Most that a token of text takes of it; in a language of one byte a letter it takes about 4.
CHARACTERS_PER_TOKEN = 6
_UPDATE_BYTES = (
    32  # that an optimizer reads and writes of each parameter: weight, moments, gradient
)
_START_S = 5.0  # of a stage's process, and what it reads and writes


@dataclass(frozen=True)
class Sizes:
    """The sizes of a first grid: tokens and blocks, and steps of ``*_blocks`` blocks each.

    ``gate_steps`` are of one round. The rates go with the steps: fewer take larger ones.
    """

    blocks: int
    block_tokens: int
    gate_steps: int
    gate_blocks: int
    gate_rate: float
    train_steps: int
    train_blocks: int
    train_rate: float
    window_tokens: int
    windows: int

    @property
    def calibration_characters(self) -> int:
        """How much text holds the blocks for certain."""
        return self.blocks * self.block_tokens * CHARACTERS_PER_TOKEN

    @property
    def window_characters(self) -> int:
        """How much text holds one window for certain."""
        return self.window_tokens * CHARACTERS_PER_TOKEN


# From the published sizes, one pass over 128 blocks of 2048 tokens, down to a look in minutes. The
# rate of the gates times the steps of a round is about 1 on each: what a gate travels in a round.
LADDER = (
    Sizes(128, 2048, 128, 1, 1e-2, 128, 1, 2e-5, 2048, 128),
    Sizes(128, 1024, 64, 1, 2e-2, 128, 1, 2e-5, 1024, 128),
    Sizes(128, 512, 32, 2, 3e-2, 96, 1, 5e-5, 512, 96),
    Sizes(96, 512, 16, 2, 6e-2, 48, 2, 1e-4, 512, 48),
    Sizes(96, 256, 8, 3, 1e-1, 20, 2, 2e-4, 256, 20),  # those of jobs/demo.yaml
    Sizes(64, 128, 10, 4, 1e-1, 12, 1, 2e-4, 128, 16),
)


def fitting_sizes(
    shape: ModelShape,
    removed: Sequence[int],
    machine: Machine,
    hours: float,
    positions: int | None = None,
) -> Sizes:
    """Return the largest sizes of a first grid that this machine does in so many hours, about.

    ``removed``: its numbers of layers. ``positions``: the most tokens that the model can read in a
    row. The smallest sizes where even these take longer.
    """
    readable = [s for s in LADDER if positions is None or s.block_tokens <= positions]
    within = (s for s in readable if hours_of(s, shape, removed, machine) <= hours)
    return next(within, LADDER[-1])


def within_text(sizes: Sizes, characters: int) -> Sizes:
    """Return the sizes with as many blocks as so much text holds for certain, at least one."""
    most = characters // (sizes.block_tokens * CHARACTERS_PER_TOKEN)
    return replace(sizes, blocks=max(1, min(sizes.blocks, most)))


def hours_of(sizes: Sizes, shape: ModelShape, removed: Sequence[int], machine: Machine) -> float:
    """Return the hours that a first grid takes on a machine which is busy all the time."""
    passed = shape.layers * shape.layer_params + shape.vocabulary * shape.hidden
    gates = THROUGH_FROZEN * sizes.gate_steps * sizes.gate_blocks * max(removed)
    influence = FORWARD * sizes.blocks
    trained = TRAINED * sizes.train_steps * sizes.train_blocks * TRAININGS * len(removed)
    scored = FORWARD * sizes.windows * (1 + CHECKPOINTS * len(removed))
    tokens = sizes.block_tokens * (gates + influence + trained) + sizes.window_tokens * scored
    devices = len(machine.gpu_bytes)
    layout = Layout(cpus=machine.cpus, gpus=devices)
    stages = 3 + (TRAININGS + 2 * CHECKPOINTS) * len(removed)
    start_s = _START_S * stages / (devices or machine.cpus)
    steps = sizes.train_steps * TRAININGS * len(removed)
    effort = Effort(tokens * passed, streamed_bytes=steps * shape.params * _UPDATE_BYTES)
    return (start_s + estimated_s(effort, layout)) / 3600
