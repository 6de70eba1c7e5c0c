"""Grids looked up: keys know contents and no paths, and texts that cannot be used are refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.grid.schema import Grid
from orchestrator.stages.resolve import Resolved, resolve, resolve_offline
from orchestrator.stages.stage_specs import evaluate_spec, ranking_spec
from tests.orchestrator.sample_grids import grid
from trsp.errors import CalibrationTooShortError, InvalidInputError


def local_grid(folder: Path, text: Path, **changes: Any) -> Grid:
    source = {"name": "wiki", "path": str(text)}
    perplexity = [{"text": source, "window_tokens": 16}]
    calibration = {"text": source, "blocks": 2, "block_tokens": 16}
    return grid(
        models=str(folder),
        **{"calibration": calibration, "evaluation": {"perplexity": perplexity}} | changes,
    )


def resolved_keys(resolved: Resolved) -> set[str]:
    layers = (0,)
    return {resolved.key} | {
        spec.key
        for cell in resolved.cells
        for spec in (
            ranking_spec(cell, resolved.study),
            evaluate_spec(cell, resolved.study, layers),
        )
    }


def test_keys_know_contents_and_no_paths(folder: Path, text_file: Path, tmp_path: Path) -> None:
    first = resolve(local_grid(folder, text_file))
    moved_model, moved_text = tmp_path / "m2" / "tiny llama", tmp_path / f"other{text_file.suffix}"
    shutil.copytree(folder, moved_model)
    shutil.copy(text_file, moved_text)
    assert resolved_keys(resolve(local_grid(moved_model, moved_text))) == resolved_keys(first)
    moved_text.write_text(
        moved_text.read_text(encoding="utf-8") + '{"text": "one more"}\n', encoding="utf-8"
    )
    assert not resolved_keys(resolve(local_grid(moved_model, moved_text))) & resolved_keys(first)


def test_the_grids_key(folder: Path, text_file: Path) -> None:
    first = resolve(local_grid(folder, text_file)).key
    same = resolve(
        local_grid(folder, text_file, budgets=[{"max_params": 5}], resources={"max_attempts": 9})
    ).key
    other = resolve(local_grid(folder, text_file, ratios=0.5)).key
    assert same == first != other
    assert first.startswith("grid-")


def test_texts_that_cannot_be_used(folder: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("too short", encoding="utf-8")
    with pytest.raises(
        CalibrationTooShortError,
        match="has 9 bytes, which cannot make one calibration block of 16 tokens",
    ):
        resolve(local_grid(folder, short))
    with pytest.raises(InvalidInputError, match="there is no file"):
        resolve(local_grid(folder, tmp_path / "absent.txt"))


def test_benchmarks_are_looked_up(folder: Path, text_file: Path, tmp_path: Path) -> None:
    def evaluation(task: str) -> dict[str, Any]:
        return {"evaluation": {"benchmarks": {"tasks": [task], "data": str(tmp_path / "data")}}}

    (tmp_path / "data" / "piqa").mkdir(parents=True)
    rows = tmp_path / "data" / "piqa" / "validation.jsonl"
    row = {"goal": "x", "sol1": "a", "sol2": "b", "label": 0}
    rows.write_text(json.dumps(row) + "\n", encoding="utf-8")
    first = resolve(
        local_grid(folder, text_file, **evaluation("piqa"))
    ).study.benchmark_fingerprints
    rows.write_text(json.dumps(row | {"goal": "y"}) + "\n", encoding="utf-8")
    assert (
        resolve(local_grid(folder, text_file, **evaluation("piqa"))).study.benchmark_fingerprints
        != first
    )
    with pytest.raises(InvalidInputError, match="sciq"):
        resolve(local_grid(folder, text_file, **evaluation("sciq")))


def test_offline_reads_no_weights(folder: Path, text_file: Path) -> None:
    for weights in folder.glob("*.safetensors"):
        data = weights.read_bytes()
        header = 8 + int.from_bytes(data[:8], "little")
        weights.write_bytes(data[:header] + b"\xff" * (len(data) - header))
    resolved = resolve_offline(local_grid(folder, text_file))
    assert not resolved.expansion.refusals
    assert resolved.models["tiny llama"].layers == 6
