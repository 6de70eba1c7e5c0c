"""Models and texts looked up: what names their content, and what is said of those that cannot be used."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.grid.axes import ModelEntry
from orchestrator.grid.schema import Grid
from orchestrator.stages.fingerprints import files_fingerprint
from orchestrator.stages.model_info import model_info, planned_info
from orchestrator.stages.resolve import Resolved, resolve, resolve_offline
from orchestrator.stages.stage_specs import evaluate_spec, ranking_spec
from tests.orchestrator.sample_grids import grid
from trsp.errors import CalibrationTooShortError, InvalidInputError, UnknownFamilyError


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRSP_HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    """A model in a folder of its own, with blanks in its path."""
    copied = tmp_path / "my models" / "tiny llama"
    shutil.copytree(tiny_llama, copied)
    return copied


def entry(source: Path | str, **more: Any) -> ModelEntry:
    return ModelEntry.model_validate({"source": str(source), **more})


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | changes
    file.write_text(
        json.dumps({k: v for k, v in config.items() if v is not None}), encoding="utf-8"
    )


def test_a_local_folder_with_blanks_in_its_path(folder: Path) -> None:
    info = model_info(entry(folder))
    assert (info.name, info.source, info.revision, info.layers) == (
        "tiny llama",
        str(folder),
        None,
        6,
    )
    assert info.fingerprint.startswith("sha256:")


def test_a_relative_folder_is_made_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert model_info(entry("./tiny llama")).source == str(folder)


def test_the_fingerprint_is_the_contents(folder: Path, tmp_path: Path) -> None:
    first = model_info(entry(folder)).fingerprint
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    (moved / "README.md").write_text("not part of the model", encoding="utf-8")
    assert model_info(entry(moved)).fingerprint == first
    weights = next(moved.glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert model_info(entry(moved)).fingerprint != first
    edit(folder, rms_norm_eps=1e-3)
    assert model_info(entry(folder)).fingerprint != first


def test_a_file_is_read_once(tmp_path: Path) -> None:
    root, memo = tmp_path / "files", tmp_path / "memo.json"
    root.mkdir()
    file = root / "a.bin"
    file.write_bytes(b"one")
    first = files_fingerprint(root, [file], memo)
    stat = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (
        files_fingerprint(root, [file], memo) == first
    )  # not read again: same path, size and time
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert files_fingerprint(root, [file], memo) != first


@pytest.mark.parametrize("damage", ["", "[1]", '{"x": 3}', "{"])
def test_a_damaged_memo_is_no_harm(tmp_path: Path, damage: str) -> None:
    file, memo = tmp_path / "a.bin", tmp_path / "memo.json"
    file.write_bytes(b"one")
    first = files_fingerprint(tmp_path, [file], memo)
    memo.write_text(damage, encoding="utf-8")
    assert files_fingerprint(tmp_path, [file], memo) == first
    memo.write_text(json.dumps({str(file): "nonsense"}), encoding="utf-8")
    assert files_fingerprint(tmp_path, [file], memo) == first


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        (
            {"model_type": "bert"},
            UnknownFamilyError,
            "unknown model family 'bert': known are gemma2",
        ),
        ({"model_type": None}, UnknownFamilyError, "no model_type"),
        (
            {"is_encoder_decoder": True, "model_type": "t5"},
            InvalidInputError,
            "'t5' is an encoder-decoder model",
        ),
        ({"num_hidden_layers": 1}, InvalidInputError, "at least 2 are needed"),
    ],
)
def test_models_that_cannot_be_pruned(
    folder: Path, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    edit(folder, **changes)
    for look_up in (model_info, planned_info):
        with pytest.raises(error) as caught:
            look_up(entry(folder))
        assert str(caught.value).startswith(f"model {str(folder)!r}: ")
        assert said in str(caught.value)


def test_models_that_are_not_there(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"no such/model' does not exist"):
        model_info(entry("/no such/model"))
    with pytest.raises(
        InvalidInputError, match=r"the hub cannot be reached .* never downloaded here"
    ):
        model_info(entry("org/never-seen"))
    with pytest.raises(InvalidInputError, match="has 6 layers, but the grid says layers: 7"):
        model_info(entry(folder, layers=7))
    next(folder.glob("*.safetensors")).unlink()
    with pytest.raises(InvalidInputError, match=r"has no \*\.safetensors"):
        model_info(entry(folder))
    (folder / "config.json").unlink()
    with pytest.raises(InvalidInputError, match=r"no config\.json"):
        model_info(entry(folder))


def test_a_hub_model_of_the_local_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline, the commit that the revision meant when it was downloaded."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub" / "models--org--seen"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit, encoding="utf-8")
    shutil.copytree(folder, cached / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(
        "huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False
    )
    info = model_info(entry("org/seen"))
    assert (info.revision, info.fingerprint, info.layers) == (commit, f"org/seen@{commit}", 6)
    assert model_info(entry("org/seen", revision=commit)) == info
    planned = planned_info(entry("org/seen"))
    assert planned
    assert planned.layers == 6


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
    rows.write_text('{"goal": "x"}\n', encoding="utf-8")
    first = resolve(local_grid(folder, text_file, **evaluation("piqa"))).study.benchmark_fingerprint
    rows.write_text('{"goal": "y"}\n', encoding="utf-8")
    assert (
        resolve(local_grid(folder, text_file, **evaluation("piqa"))).study.benchmark_fingerprint
        != first
    )
    with pytest.raises(InvalidInputError, match="sciq"):
        resolve(local_grid(folder, text_file, **evaluation("sciq")))


def test_offline_reads_no_weights(folder: Path, text_file: Path) -> None:
    for weights in folder.glob("*.safetensors"):
        weights.write_bytes(b"")
    resolved = resolve_offline(local_grid(folder, text_file))
    assert not resolved.expansion.refusals
    assert resolved.models["tiny llama"].layers == 6
