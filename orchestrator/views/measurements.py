"""The measurements that a grid rests on: one per shape of a model, shared by cells. Reads only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from orchestrator.stages.next_stages import Results, chosen_layers
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageSpec, measure_spec
from trsp.errors import InvalidInputError, unknown_name
from trsp.records import MeasurementRecord, Record


class RecordedResults(Results, Protocol):
    """What the store holds, with the records of stages."""

    def record(self, key: str) -> Record | None:
        """Return a stage's record; None while there is none."""


@dataclass(frozen=True)
class Measurement:
    """One shape of a model, and what was measured of it."""

    key: str  # of its stage
    model: str
    layers: int  # that are left
    cells: tuple[str, ...]  # names of the cells of this shape; none for the unpruned model alone
    record: MeasurementRecord | None  # None while it is not measured

    @property
    def is_sound(self) -> bool:
        """Whether it is measured, and nothing speaks against its latencies."""
        return self.record is not None and not self.record.doubt


@dataclass(frozen=True)
class Selection:
    """Which of a grid's measurements are meant; all of them by default."""

    models: tuple[str, ...] = ()  # names; none: of every model
    cells: tuple[str, ...] = ()  # names; none: of every cell, and of the unpruned models
    doubtful: bool = False  # only those that are not sound

    def of(self, measurements: Sequence[Measurement]) -> tuple[Measurement, ...]:
        """Return those that are meant; InvalidInputError for a name that none of them has."""
        _check_known("model", self.models, [each.model for each in measurements])
        _check_known("cell", self.cells, [name for each in measurements for name in each.cells])
        return tuple(each for each in measurements if self._takes(each))

    def _takes(self, measurement: Measurement) -> bool:
        if self.models and measurement.model not in self.models:
            return False
        if self.cells and not {*self.cells} & {*measurement.cells}:
            return False
        return not (self.doubtful and measurement.is_sound)


def measurements(resolved: Resolved, results: RecordedResults) -> tuple[Measurement, ...]:
    """Return the measurements of all shapes that are known by now, on the study's hardware.

    The shape of a cell is known once its layers are chosen.
    """
    found: dict[str, Measurement] = {}
    for spec, model, layers, cell in _specs(resolved, results):
        known = found.get(spec.key)
        if known is None:
            stored = results.record(spec.key)
            record = stored if isinstance(stored, MeasurementRecord) else None
            known = Measurement(spec.key, model, layers, (), record)
        found[spec.key] = replace(known, cells=known.cells + cell)
    return tuple(found.values())


def _specs(
    resolved: Resolved, results: RecordedResults
) -> Iterator[tuple[StageSpec, str, int, tuple[str, ...]]]:
    """Yield measurements with the model's name, the layers left, and the cell's name, if any."""
    study = resolved.study
    for model in resolved.models.values():
        spec = measure_spec(model, study, ())
        if spec is not None:
            yield spec, model.name, model.layers, ()
    for cell in resolved.cells:
        layers = chosen_layers(cell, study, results)
        spec = measure_spec(cell.model, study, layers) if layers else None
        if spec is not None and layers:
            yield spec, cell.model.name, cell.model.layers - len(layers), (cell.name,)


def _check_known(kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise InvalidInputError(f"{unknown_name(kind, name, {*known})} (with a measurement)")
