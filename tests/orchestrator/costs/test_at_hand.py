"""When a plan looks at the store unasked: where that needs neither the network nor long."""

import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.costs.at_hand import store_is_at_hand
from orchestrator.grid.schema import Grid
from orchestrator.stages.fingerprints import files_fingerprint
from tests.orchestrator.sample_grids import CALIBRATION, EVALUATION, grid

HUB_TEXT = {"name": "wiki", "dataset": "org/text"}
WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and a store that holds something."""
    monkeypatch.setenv("TRSP_HOME", str(tmp_path / "home"))
    (tmp_path / "store" / "stages").mkdir(parents=True)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    return tmp_path


def local(folder: Path, **changes: Any) -> Grid:
    store = {"store": str(folder / "store")}
    return grid(**({"models": str(folder / "m"), "storage": store} | changes))


def test_what_lies_here_is_at_hand(folder: Path) -> None:
    assert store_is_at_hand(local(folder))


def test_a_store_that_holds_nothing_is_not_looked_at(folder: Path) -> None:
    assert not store_is_at_hand(local(folder, storage={"store": str(folder / "other")}))


def test_an_object_store_is_not_looked_at(folder: Path) -> None:
    assert not store_is_at_hand(local(folder, storage={"store": "s3://bucket/trsp"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"models": "hub/model"},
        {"calibration": {**CALIBRATION, "text": HUB_TEXT}},
        {"evaluation": {"perplexity": [{"text": HUB_TEXT, "window_tokens": 16}]}},
        {"evaluation": {**EVALUATION, "benchmarks": {"tasks": ["piqa"]}}},
    ],
)
def test_what_would_be_asked_of_a_hub_is_not_at_hand(folder: Path, changes: Any) -> None:
    assert not store_is_at_hand(local(folder, **changes))


def test_weights_are_at_hand_once_their_hash_is_known(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "m" / WEIGHTS).write_bytes(os.urandom(2000))
    monkeypatch.setattr("orchestrator.costs.at_hand._MOST_READ_BYTES", 1000)
    assert not store_is_at_hand(local(folder))
    files_fingerprint(folder / "m", [folder / "m" / WEIGHTS])
    assert store_is_at_hand(local(folder))
