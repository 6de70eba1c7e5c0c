"""Models of a hub on this machine that gives no answer about some of their files."""

import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.hub_server import HubServer, commit_of, hub_server
from trsp.checkpoints.checkpoint import load_model, load_tokenizer
from trsp.checkpoints.stored_weights import StoredWeights
from trsp.checkpoints.withheld import is_withheld
from trsp.errors import InvalidInputError, UnreachableError

MODEL = "org/tiny"


@pytest.fixture
def hub(tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub with a tiny model, whose library does not wait before it asks again."""
    hasty = SimpleNamespace(sleep=lambda _: None, time=time.time, monotonic=time.monotonic)
    monkeypatch.setattr("huggingface_hub.utils._http.time", hasty)
    with hub_server(tmp_path / "hub-cache", monkeypatch) as hub:
        hub.push(f"models/{MODEL}", {path.name: path.read_bytes() for path in tiny_llama.iterdir()})
        yield hub


@pytest.mark.parametrize(
    ("load", "away"),
    [(load_model, "model.safetensors"), (StoredWeights, "model."), (load_tokenizer, "tokenizer")],
)
def test_files_that_a_hub_gives_no_answer_about_are_no_bad_input(
    hub: HubServer, load: Callable[..., object], away: str
) -> None:
    hub.away = away
    with pytest.raises(UnreachableError, match="cannot be read"):
        load(MODEL, commit_of(1))
    hub.away = ""
    load(MODEL, commit_of(1))


@pytest.mark.parametrize("load", [load_model, StoredWeights, load_tokenizer])
def test_files_that_a_hub_has_not_are_bad_input(
    hub: HubServer, load: Callable[..., object], tiny_llama: Path
) -> None:
    config = (tiny_llama / "config.json").read_bytes()
    revision = hub.push(f"models/{MODEL}", {"config.json": config})
    with pytest.raises(InvalidInputError):
        load(MODEL, revision)


def test_a_file_that_the_hub_has_after_all_was_withheld(hub: HubServer) -> None:
    assert is_withheld(MODEL, commit_of(1), ["no.such", "model.safetensors"])
    load_model(MODEL, commit_of(1))
    assert not is_withheld(MODEL, commit_of(1), ["no.such", "model.safetensors"])


def test_where_nobody_may_ask_nothing_is_withheld(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert not is_withheld(MODEL, commit_of(1), ["model.safetensors"])


def test_a_folder_whose_files_cannot_be_looked_at_withholds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert not is_withheld(str(tmp_path), None, ["model.safetensors"])

    def stale(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Path, "iterdir", stale)
    assert is_withheld(str(tmp_path), None, ["model.safetensors"])
