"""A grid with its models and texts looked up: what the keys of all its stages are made of.

Starts nothing, needs no torch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.grid.axes import ModelEntry
from orchestrator.grid.cells import Cell, ModelInfo, Study, text_id
from orchestrator.grid.expand import Expansion, Refusal, expand
from orchestrator.grid.keys import content_key
from orchestrator.grid.locations import absolute_path
from orchestrator.grid.schema import Grid
from orchestrator.stages.model_info import model_info, planned_info
from orchestrator.stages.stage_specs import dense_spec
from trsp.config import BenchmarkSettings, TextSource
from trsp.errors import CalibrationTooShortError, InvalidInputError


@dataclass(frozen=True)
class Resolved:
    """A grid with all that it names looked up. Local paths are absolute."""

    grid: Grid
    models: Mapping[str, ModelInfo]  # by the names of the grid's model entries
    study: Study
    expansion: Expansion

    @property
    def key(self) -> str:
        """Names what is asked for, wherever and with whatever resources it runs."""
        return grid_key(self)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return self.expansion.cells


def resolve(grid: Grid, hardware: str = "") -> Resolved:
    """Return the grid with every file read that a key depends on, large ones once.

    ``hardware`` names what speed is measured on. InvalidInputError for the first model or text that
    cannot be used; refused combinations are left to ``expansion.require(file)``.
    """
    grid = absolute_paths(grid)
    models = {entry.name: model_info(entry) for entry in grid.models}
    grid, text_fingerprints = _with_texts(grid)
    benchmark_fingerprints = _benchmark_fingerprints(grid.evaluation.benchmarks)
    study = _study(grid, hardware, text_fingerprints, benchmark_fingerprints)
    return Resolved(grid, models, study, expand(grid, models))


def resolve_offline(grid: Grid) -> Resolved:
    """Return the grid as far as the network, weights and texts are not needed.

    That is for planning, not for keys: fingerprints are made up. What is wrong with a model or a
    text is among the refusals.
    """
    grid = absolute_paths(grid)
    models, model_problems = _planned_models(grid.models)
    texts = _texts(grid)
    text_fingerprints = {text_id(text): f"unread:{text_id(text)}" for text in texts}
    expansion = expand(grid, models)
    refusals = (*model_problems, *_missing_texts(texts), *expansion.refusals)
    benchmarks = grid.evaluation.benchmarks
    unread = dict.fromkeys(benchmarks.tasks if benchmarks else (), "unread")
    study = _study(grid, "", text_fingerprints, unread)
    return Resolved(grid, models, study, replace(expansion, refusals=refusals))


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
        if info is not None:
            models[entry.name] = info
    return models, refusals


def _texts(grid: Grid) -> list[TextSource]:
    """Return the texts of calibration and perplexity, in this order."""
    return [grid.calibration.text, *(p.text for p in grid.evaluation.perplexity)]


def _missing_texts(texts: Iterable[TextSource]) -> list[Refusal]:
    """Return a refusal, of no model in particular, for every local text that is not there."""
    return [
        Refusal("", f"text {text.name!r}: there is no file {text.path}")
        for text in texts
        if text.path and not Path(text.path).is_file()
    ]


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
        "measurement": study.measurement.model_dump(mode="json"),
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

    The latter are by ``text_id`` of the texts of the returned grid.
    """
    fingerprints: dict[str, str] = {}

    def look_up(text: TextSource, tokens: int, unit: str) -> TextSource:
        found, fingerprint = _text_info(text, tokens, unit)
        fingerprints[text_id(found)] = fingerprint
        return found

    calibration, evaluation = grid.calibration, grid.evaluation
    text = look_up(calibration.text, calibration.block_tokens, "calibration block")
    perplexity = tuple(
        p.model_copy(update={"text": look_up(p.text, p.window_tokens, "evaluation window")})
        for p in evaluation.perplexity
    )
    changes = {
        "calibration": calibration.model_copy(update={"text": text}),
        "evaluation": evaluation.model_copy(update={"perplexity": perplexity}),
    }
    return grid.model_copy(update=changes), fingerprints


def _text_info(text: TextSource, tokens: int, unit: str) -> tuple[TextSource, str]:
    """Return a text as it is to be loaded, and what names its content.

    CalibrationTooShortError when a local file cannot make one ``unit`` of so many tokens. The check
    costs nothing: a token is at least a byte.
    """
    from orchestrator.stages.text_info import text_info

    found = text_info(text)  # says so when there is no such file
    if text.path is not None:
        size_bytes = Path(text.path).stat().st_size
        if size_bytes < tokens:
            raise CalibrationTooShortError(
                f"text {text.name!r}: {text.path} has {size_bytes} bytes, "
                f"which cannot make one {unit} of {tokens} tokens; "
                "give a longer text or a shorter block or window"
            )
    return found


def _benchmark_fingerprints(benchmarks: BenchmarkSettings | None) -> dict[str, Any]:
    """Return what names each benchmark task: its rows, and its definition by lm-eval.

    The rows are ``hub``, or a hash of the folder in its place. InvalidInputError when lm-eval does
    not know a task, or that folder does not hold it.
    """
    from trsp.evaluation.lm_eval_tasks import check_tasks, rows_fingerprint
    from trsp.evaluation.task_definitions import task_definition

    if benchmarks is None:
        return {}
    check_tasks(benchmarks)
    return {
        task: {"data": rows_fingerprint(benchmarks.data, task), **task_definition(task)}
        for task in benchmarks.tasks
    }
