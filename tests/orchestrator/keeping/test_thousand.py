"""A store of a thousand checkpoints with aliases and a grid at work: what goes, and how fast."""

import shutil
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.cli import main
from orchestrator.coordination.process import ProcessIdentity
from orchestrator.store.store import Store
from tests.orchestrator.fake_launcher import store_of
from tests.orchestrator.keeping.made_up import age, made

CHECKPOINTS, MARKED = 1000, 5
MOST_S = 20.0  # for the command; it takes a quarter of that on two quiet cores


def add_checkpoints(store: Store) -> list[str]:
    """Write a thousand checkpoints of grids that nobody keeps, of 2 kB each."""
    keys = [f"prune-{number:024x}" for number in range(CHECKPOINTS)]
    root = store.files.local_path("stages/prune")
    for key in keys:
        (files := root / key / "files-a").mkdir(parents=True)
        (files / "model.safetensors").write_bytes(b"x" * 2000)
        (root / key / "result.json").write_text('{"record": {}, "files": "files-a"}')
    return keys


def mark(uri: str, keys: list[str]) -> None:
    client = MlflowClient(uri, uri)
    client.create_registered_model("m")
    for number, key in enumerate(keys):
        version = client.create_model_version("m", "/x", tags={"trsp.content": key})
        client.set_registered_model_alias("m", f"best-{number}", version.version)


def test_of_a_thousand_checkpoints_those_stay_that_an_alias_marks(
    tmp_path: Path, empty_database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    grid = made(tmp_path)
    store = store_of(grid)
    keys = add_checkpoints(store)
    mark(f"sqlite:///{tmp_path}/mlflow.db", keys[:MARKED])
    age(store)
    store.claims.drivers.say("at-work", ProcessIdentity.here(), [keys[-1]], grid=grid.key)
    began = time.monotonic()
    with pytest.raises(SystemExit, match="0"):
        main(["gc", "--store", store.uri, "--yes"])
    seconds = time.monotonic() - began
    said = capsys.readouterr().out
    left = {key for key in keys if store.stages.done(key)}
    assert left == {*keys[:MARKED], keys[-1]}
    assert f"of {CHECKPOINTS - MARKED - 1} stage(s)" in said
    print(f"{said}{CHECKPOINTS} checkpoints: {seconds:.1f} s")
    assert seconds < MOST_S
