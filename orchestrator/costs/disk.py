"""The bytes that stages put into the store, and what of them is there for a while only. Pure.

Weights are counted exactly, by the parameters of a model's shape; the JSON beside them about.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.grid.run_settings import Resources, Storage
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.workload import TrainedParts, work_of
from orchestrator.stages.stage_specs import StageKind, StageSpec
from trsp.architecture.shape import ModelShape

_SNAPSHOT_BYTES = 12  # per trained parameter: docs/snapshots.md
_DOCUMENTS_BYTES = 4_000  # of any stage: what was asked, its result, its claims
_NUMBER_BYTES = 22  # of a gate's or a score's digits in JSON
_ITEM_BYTES = 2_000  # of an item of an evaluation, and of its place in the whole
_WINDOW_BYTES = 2 * _NUMBER_BYTES  # in the item and in the evaluation


@dataclass(frozen=True)
class Disk:
    """Bytes of the store: ``written`` in all, ``kept`` of them at the end.

    ``passing``: the most that is there besides while the stage runs, or until the next one has it.
    """

    written: int = 0
    kept: int = 0
    passing: int = 0

    def __add__(self, other: "Disk") -> "Disk":
        """Return the sum; of ``passing`` the larger, for stages do not all run at once."""
        return Disk(
            self.written + other.written,
            self.kept + other.kept,
            max(self.passing, other.passing),
        )


NO_BYTES = Disk()


@dataclass(frozen=True)
class Keeping:
    """What of stages a grid keeps. ``tokenizer_bytes``: by models' names, of all small files."""

    storage: Storage
    resources: Resources
    tokenizer_bytes: Mapping[str, int]

    def disk(self, spec: StageSpec, shape: ModelShape, layout: Layout, seconds: float) -> Disk:
        """Return what a stage that takes so many seconds writes to the store."""
        documents = _DOCUMENTS_BYTES + _records_bytes(spec, shape)
        disk = Disk(documents, documents)
        if spec.kind is StageKind.PRUNE:
            size = self._checkpoint_bytes(spec, shape, len(spec.inputs["layers"]))
            return disk + Disk(size, size)
        if spec.kind is StageKind.TRANSFER:
            disk += self._trained(spec, shape, layout)
        if work_of(spec).is_training:
            disk += self._snapshots(spec, shape, layout, seconds)
        return disk

    def _checkpoint_bytes(self, spec: StageSpec, shape: ModelShape, removed: int) -> int:
        params = shape.params - removed * shape.layer_params
        others = self.tokenizer_bytes.get(spec.locations["model"]["name"], 0)
        return params * shape.weight_bytes(spec.inputs["precision"]) + others

    def _trained(self, spec: StageSpec, shape: ModelShape, layout: Layout) -> Disk:
        """Return the whole weights of stage two, which a chain of stages hands over in memory."""
        size = self._checkpoint_bytes(spec, shape, 0)
        if self.storage.keep_transfer_weights:
            return Disk(size, size)
        handed_over = self.resources.hand_over and layout.ranks == 1
        return NO_BYTES if handed_over else Disk(size, 0, size)

    def _snapshots(
        self, spec: StageSpec, shape: ModelShape, layout: Layout, seconds: float
    ) -> Disk:
        """Return the snapshots of a training: each takes the place of the one before it."""
        number = int(seconds / self.resources.snapshot_every_s)
        size = _SNAPSHOT_BYTES * TrainedParts(shape, work_of(spec), layout).trained
        return Disk(number * size, 0, min(2, number) * size)


def _records_bytes(spec: StageSpec, shape: ModelShape) -> int:
    """Return the bytes of what a stage says of its own work, besides its result's frame."""
    match spec.kind:
        case StageKind.RANKING:
            selector = spec.inputs["selector"]
            values = shape.layers * (1 + (selector.get("steps_per_round") or 1))
            return spec.depth * values * _NUMBER_BYTES
        case StageKind.EVALUATE | StageKind.DENSE:
            evaluation = spec.locations["evaluation"]
            texts, benchmarks = evaluation["perplexity"], evaluation["benchmarks"]
            tasks = len(benchmarks["tasks"]) if benchmarks else 0
            windows = sum(text["max_windows"] or 0 for text in texts)
            return (len(texts) + tasks) * _ITEM_BYTES + windows * _WINDOW_BYTES
        case _:
            return 0
