"""Models looked up: what names their content, and what is said of those that cannot be used."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.grid.axes import ModelEntry
from orchestrator.stages.model_info import model_info, planned_info
from trsp.distributed.device import resolve_dtype
from trsp.errors import InvalidInputError, UnknownFamilyError


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
        InvalidInputError, match=r"never downloaded here, and HF_HUB_OFFLINE is set"
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
    assert (info.revision, info.layers) == (commit, 6)
    assert model_info(entry("org/seen", revision=commit)) == info
    planned = planned_info(entry("org/seen"))
    assert planned
    assert planned.layers == 6


@pytest.mark.parametrize(
    ("named", "meant"),
    [("bfloat16", "bf16"), ("float16", "bf16"), ("float32", "fp32"), (None, "fp32")],
)
def test_the_precision_that_auto_means(folder: Path, named: str | None, meant: str) -> None:
    edit(folder, dtype=named)
    assert model_info(entry(folder)).stored_precision == meant
    assert resolve_dtype("auto", named) is resolve_dtype(
        model_info(entry(folder)).stored_precision, None
    )
