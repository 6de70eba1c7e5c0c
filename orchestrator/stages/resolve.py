"""A grid with its models and texts looked up: what the keys of all its stages are made of.

Starts nothing, needs no torch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from orchestrator.grid.axes import ModelEntry
from orchestrator.grid.cells import Cell, ModelInfo, Study, text_id
from orchestrator.grid.expand import Expansion, Refusal, expand
from orchestrator.grid.keys import content_key
from orchestrator.grid.locations import absolute_path
from orchestrator.grid.schema import Grid
from orchestrator.stages.model_info import model_info, planned_info
from orchestrator.stages.preconditions import (
    PLANNED_CHARACTERS,
    check_size,
    known_problems,
    texts_of,
)
from orchestrator.stages.stage_specs import dense_spec
from orchestrator.stages.text_info import text_info
from trsp.config import BenchmarkSettings, TextSource
from trsp.errors import InvalidInputError


@dataclass(frozen=True)
class Resolved:
    """A grid with all that it names looked up. Local paths are absolute."""

    grid: Grid
    models: Mapping[str, ModelInfo]  # by the names of the grid's model entries
    study: Study
    expansion: Expansion

    @cached_property
    def key(self) -> str:
        """Names what is asked for, wherever and with whatever resources it runs."""
        return grid_key(self)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return self.expansion.cells

    def measured_on(self, hardware: str) -> "Resolved":
        """Return the grid with its measurements keyed by that hardware."""
        return replace(self, study=replace(self.study, hardware=hardware))


def resolve(grid: Grid, hardware: str = "") -> Resolved:
    """Return the grid with every file read that a key depends on, large ones once.

    ``hardware`` names what speed is measured on. InvalidInputError for the first model or text that
    cannot be used; refused combinations are left to ``expansion.require(file)``.
    """
    grid = absolute_paths(grid)
    models = {entry.name: model_info(entry) for entry in grid.models}
    grid, text_fingerprints = _with_texts(grid)
    benchmark_fingerprints = _benchmark_fingerprints(grid.evaluation.benchmarks)
    return resolved_of(grid, models, hardware, text_fingerprints, benchmark_fingerprints)


def resolved_of(
    grid: Grid,
    models: Mapping[str, ModelInfo],
    hardware: str,
    text_fingerprints: Mapping[str, str],
    benchmark_fingerprints: Mapping[str, Any],
) -> Resolved:
    """Return a grid of which everything was looked up before; ``grid`` has its absolute paths."""
    study = _study(grid, hardware, text_fingerprints, benchmark_fingerprints)
    return Resolved(grid, models, study, expand(grid, models))


def resolve_offline(grid: Grid) -> Resolved:
    """Return the grid as far as the network, weights and texts are not needed.

    That is for planning, not for keys: fingerprints are made up. What is wrong with a model or with
    the beginning of a text is among the refusals.
    """
    grid = absolute_paths(grid)
    models, model_problems = _planned_models(grid.models)
    text_fingerprints = {text_id(text): f"unread:{text_id(text)}" for text, *_ in texts_of(grid)}
    expansion = expand(grid, models)
    expansion = replace(expansion, refusals=(*model_problems, *expansion.refusals))
    benchmarks = grid.evaluation.benchmarks
    unread = dict.fromkeys(benchmarks.tasks if benchmarks else (), "unread")
    study = _study(grid, "", text_fingerprints, unread)
    return with_known_problems(Resolved(grid, models, study, expansion))


def with_known_problems(
    resolved: Resolved, characters: int | None = PLANNED_CHARACTERS
) -> Resolved:
    """Return the grid with all that files at hand tell among its refusals and notes.

    ``characters``: how much of each text is read; None: all of it.
    """
    known = known_problems(resolved.grid, resolved.models, characters)
    expansion = resolved.expansion
    refusals = dict.fromkeys((*expansion.refusals, *known.refusals))
    notes = dict.fromkeys((*expansion.notes, *known.notes))
    expansion = replace(expansion, refusals=tuple(refusals), notes=tuple(notes))
    return replace(resolved, expansion=expansion)


def _planned_models(
    entries: Iterable[ModelEntry],
) -> tuple[dict[str, ModelInfo], list[Refusal]]:
    """Return the models whose number of layers is known, by name, and refusals of the unusable."""
    models: dict[str, ModelInfo] = {}
    refusals: list[Refusal] = []
    for entry in entries:
        try:
            info = planned_info(entry)
        except InvalidInputError as error:
            refusals.append(Refusal(entry.name, str(error)))
            continue
        except OSError as error:
            reason = f"model {entry.source!r} cannot be read: {error}"
            refusals.append(Refusal(entry.name, reason))
            continue
        if info is not None:
            models[entry.name] = info
    return models, refusals


def grid_key(resolved: Resolved) -> str:
    """Return what names a grid's results, wherever they are computed.

    It is made of the grid's name, its cells and its references; not of budgets or resources.
    """
    study = resolved.study
    content: dict[str, Any] = {
        "name": resolved.grid.name,
        "cells": sorted(cell.key for cell in resolved.cells),
        "dense": sorted(dense_spec(model, study).key for model in resolved.models.values()),
        "calibration": study.calibration.model_dump(mode="json", exclude={"text", "preset"}),
        "text": study.fingerprint(study.calibration.text),
        # Known before the hardware is: what is left to it counts as what it would be on a CPU.
        "measurement": study.measurement.chosen_for(gpu=False).model_dump(mode="json"),
    }
    return content_key("grid", content)


def absolute_paths(grid: Grid) -> Grid:
    """Return the grid with the local paths of texts and benchmark data made absolute.

    A submitted job's working directory is another one on every node.
    """
    evaluation = grid.evaluation
    benchmarks = evaluation.benchmarks
    if benchmarks and benchmarks.data:
        benchmarks = benchmarks.model_copy(update={"data": absolute_path(benchmarks.data)})
    perplexity = tuple(
        p.model_copy(update={"text": _absolute_text(p.text)}) for p in evaluation.perplexity
    )
    evaluation = evaluation.model_copy(update={"perplexity": perplexity, "benchmarks": benchmarks})
    calibration = grid.calibration.model_copy(
        update={"text": _absolute_text(grid.calibration.text)}
    )
    return grid.model_copy(update={"calibration": calibration, "evaluation": evaluation})


def _absolute_text(text: TextSource) -> TextSource:
    """Return a text source whose file, if it has one, has an absolute path."""
    if text.path is None:
        return text
    return text.model_copy(update={"path": absolute_path(text.path)})


def _study(
    grid: Grid,
    hardware: str,
    text_fingerprints: Mapping[str, str],
    benchmark_fingerprints: Mapping[str, Any],
) -> Study:
    """Return what all cells of the grid share."""
    return Study(
        calibration=grid.calibration,
        evaluation=grid.evaluation,
        measurement=grid.measurement,
        precision=grid.precision,
        hardware=hardware,
        text_fingerprints=text_fingerprints,
        benchmark_fingerprints=benchmark_fingerprints,
    )


def _with_texts(grid: Grid) -> tuple[Grid, dict[str, str]]:
    """Return the grid with every hub dataset at a commit, and the names of its texts' content.

    The latter are by ``text_id`` of the texts of the returned grid. InvalidInputError for a file
    that is not there, CalibrationTooShortError for one that cannot make a single block or window.
    """
    found = {}
    for text, tokens, unit in texts_of(grid):
        check_size(text, tokens, unit)
        found[text_id(text)] = text_info(text)
    calibration, evaluation = grid.calibration, grid.evaluation
    text, _ = found[text_id(calibration.text)]
    perplexity = tuple(
        each.model_copy(update={"text": found[text_id(each.text)][0]})
        for each in evaluation.perplexity
    )
    changes = {
        "calibration": calibration.model_copy(update={"text": text}),
        "evaluation": evaluation.model_copy(update={"perplexity": perplexity}),
    }
    fingerprints = {text_id(pinned): fingerprint for pinned, fingerprint in found.values()}
    return grid.model_copy(update=changes), fingerprints


def _benchmark_fingerprints(benchmarks: BenchmarkSettings | None) -> dict[str, Any]:
    """Return what names each benchmark task: its rows, and its definition by lm-eval.

    The rows are ``hub``, or a hash of the folder in its place. InvalidInputError when lm-eval does
    not know a task, or that folder does not hold it.
    """
    from trsp.evaluation.lm_eval_tasks import rows_fingerprint
    from trsp.evaluation.task_definitions import task_definition
    from trsp.evaluation.task_rows import check_tasks

    if benchmarks is None:
        return {}
    check_tasks(benchmarks)
    return {
        task: {"data": rows_fingerprint(benchmarks.data, task), **task_definition(task)}
        for task in benchmarks.tasks
    }
