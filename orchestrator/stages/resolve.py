"""A grid with its models and texts looked up: what the keys of all its stages are made of. Starts nothing, needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.grid.cells import Cell, ModelInfo, Study, text_id
from orchestrator.grid.expand import Expansion, Refusal, expand
from orchestrator.grid.keys import content_key
from orchestrator.grid.schema import Grid
from orchestrator.stages.model_info import model_info, planned_info
from orchestrator.stages.stage_specs import dense_spec
from trsp.config import BenchmarkSettings, TextSource
from trsp.errors import CalibrationTooShortError, InvalidInputError


@dataclass(frozen=True)
class Resolved:
    """A grid, its models by name, what its cells share, and the cells themselves. Local paths are absolute."""

    grid: Grid
    models: Mapping[str, ModelInfo]
    study: Study
    expansion: Expansion

    @property
    def key(self) -> str:
        return grid_key(self)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return self.expansion.cells


def resolve(grid: Grid, hardware: str = "") -> Resolved:
    """Everything looked up, every file read that a key depends on (large ones once: see ``fingerprints``).

    ``hardware`` names what speed is measured on. InvalidInputError for the first model or text that cannot be used;
    refused combinations are left to ``expansion.require(file)``.
    """
    grid = absolute_paths(grid)
    texts = [(grid.calibration.text, grid.calibration.block_tokens, "calibration block")]
    texts += [(p.text, p.window_tokens, "evaluation window") for p in grid.evaluation.perplexity]
    models = {entry.name: model_info(entry) for entry in grid.models}
    fingerprints = {
        text_id(text): _text_fingerprint(text, tokens, unit) for text, tokens, unit in texts
    }
    study = _study(grid, hardware, fingerprints, _benchmark_fingerprint(grid.evaluation.benchmarks))
    return Resolved(grid, models, study, expand(grid, models))


def resolve_offline(grid: Grid) -> Resolved:
    """As far as it goes without the network and without reading weights or texts: for planning, not for keys.

    What is wrong with a model or a text is among the refusals.
    """
    grid = absolute_paths(grid)
    models: dict[str, ModelInfo] = {}
    problems: list[Refusal] = []
    for entry in grid.models:
        try:
            if (info := planned_info(entry)) is not None:
                models[entry.name] = info
        except InvalidInputError as error:
            problems.append(Refusal(entry.name, str(error)))
    texts = [grid.calibration.text, *(p.text for p in grid.evaluation.perplexity)]
    problems += [
        Refusal("", f"text {t.name!r}: there is no file {t.path}")
        for t in texts
        if t.path and not Path(t.path).is_file()
    ]
    study = _study(grid, "", {text_id(text): f"unread:{text_id(text)}" for text in texts}, "unread")
    expansion = expand(grid, models)
    refusals = (*problems, *expansion.refusals)
    return Resolved(
        grid,
        models,
        study,
        Expansion(expansion.cells, refusals, expansion.notes, expansion.unresolved),
    )


def grid_key(resolved: Resolved) -> str:
    """Names what is wanted, wherever it runs: the cells and the references, by name of the grid. Not budgets or resources."""
    study = resolved.study
    wanted: dict[str, Any] = {
        "name": resolved.grid.name,
        "cells": sorted(cell.key for cell in resolved.cells),
        "dense": sorted(dense_spec(model, study).key for model in resolved.models.values()),
        "calibration": study.calibration.model_dump(mode="json", exclude={"text"}),
        "text": study.fingerprint(study.calibration.text),
        "measurement": study.measurement.model_dump(mode="json"),
    }
    return content_key("grid", wanted)


def absolute_paths(grid: Grid) -> Grid:
    """The same grid with local paths made absolute: a submitted job's working directory is another one on every node."""
    evaluation = grid.evaluation
    benchmarks = evaluation.benchmarks
    if benchmarks and benchmarks.data:
        benchmarks = benchmarks.model_copy(update={"data": _absolute(benchmarks.data)})
    perplexity = tuple(
        p.model_copy(update={"text": _absolute_text(p.text)}) for p in evaluation.perplexity
    )
    evaluation = evaluation.model_copy(update={"perplexity": perplexity, "benchmarks": benchmarks})
    calibration = grid.calibration.model_copy(
        update={"text": _absolute_text(grid.calibration.text)}
    )
    return grid.model_copy(update={"calibration": calibration, "evaluation": evaluation})


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _absolute_text(text: TextSource) -> TextSource:
    return text if text.path is None else text.model_copy(update={"path": _absolute(text.path)})


def _study(grid: Grid, hardware: str, fingerprints: Mapping[str, str], benchmarks: str) -> Study:
    return Study(
        calibration=grid.calibration,
        evaluation=grid.evaluation,
        measurement=grid.measurement,
        precision=grid.precision,
        hardware=hardware,
        text_fingerprints=fingerprints,
        benchmark_fingerprint=benchmarks,
    )


def _text_fingerprint(text: TextSource, tokens: int, unit: str) -> str:
    """The fingerprint, after the check that costs nothing: a token is at least a byte."""
    from trsp.data.texts import text_fingerprint

    if text.path is not None:
        fingerprint = text_fingerprint(text)  # says so when there is no such file
        size_bytes = Path(text.path).stat().st_size
        if size_bytes < tokens:
            raise CalibrationTooShortError(
                f"text {text.name!r}: {text.path} has {size_bytes} bytes, which cannot make one {unit} of {tokens} tokens; "
                "give a longer text or a shorter block or window"
            )
        return fingerprint
    return text_fingerprint(text)


def _benchmark_fingerprint(benchmarks: BenchmarkSettings | None) -> str:
    """After the check that lm-eval knows the tasks, and the folder that stands in for the hub holds them."""
    from trsp.evaluation.lm_eval_tasks import benchmark_fingerprint, check_tasks

    if benchmarks is None:
        return "hub"
    check_tasks(benchmarks)
    return benchmark_fingerprint(benchmarks)
