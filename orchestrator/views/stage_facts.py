"""What a cell's stages say of it beside their results: when they worked, at what rates. Pure."""

from collections.abc import Mapping, Sequence

from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.results import StoreResults
from orchestrator.views.grid_view import lowest_rate
from trsp.records import RoundRecord, TransferRecord


def worked(keys: Mapping[str, str], results: StoreResults) -> tuple[float | None, float | None]:
    """Return when the stages of a cell began and ended, in seconds since the epoch.

    ``keys``: of its stages, by kind. A ranking is not its own, and a measurement that several cells
    share may be older than all else of it: that counts for the end alone.
    """
    times = {
        kind: known
        for kind, key in keys.items()
        if kind != StageKind.RANKING and (known := results.timings(key))
    }
    began = (known.began for kind, known in times.items() if kind != StageKind.MEASURE)
    ended = (known.ended for known in times.values())
    return min(began, default=None), max(ended, default=None)


def rate_scales(rounds: Sequence[RoundRecord], transfer: TransferRecord | None) -> dict[str, float]:
    """Return the shares of learning rates below 1 that led to a cell, by kind of stage."""
    scales = {
        str(StageKind.RANKING): lowest_rate(rounds),
        str(StageKind.TRANSFER): transfer.rate_scale if transfer else 1.0,
    }
    return {kind: scale for kind, scale in scales.items() if scale < 1}
