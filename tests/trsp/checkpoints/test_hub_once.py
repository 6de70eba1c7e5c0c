"""Files of a hub come once to a node, however many want them at the same time."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hub_server import HubServer, commit_of, hub_server
from trsp.checkpoints.checkpoint import load_tokenizer
from trsp.checkpoints.stored_weights import StoredWeights
from trsp.config import TextSource
from trsp.data.texts import read_documents

MODEL, TEXT = "org/tiny", "org/texts"


@pytest.fixture
def hub(tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub that takes its time, with a tiny model and a text."""
    with hub_server(tmp_path / "hub-cache", monkeypatch) as hub:
        hub.push(f"models/{MODEL}", {path.name: path.read_bytes() for path in tiny_llama.iterdir()})
        hub.push(f"datasets/{TEXT}", {"train.jsonl": b'{"text": "one"}\n{"text": "two"}\n'})
        hub.delay_s = 0.3
        yield hub


def at_once(work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()


@pytest.mark.parametrize(
    ("load", "file"), [(StoredWeights, "model.safetensors"), (load_tokenizer, "tokenizer.json")]
)
def test_those_that_want_a_model_at_once_wait_for_one_download(
    hub: HubServer, load: Callable[[str, str], object], file: str
) -> None:
    at_once(lambda: load(MODEL, commit_of(1)))
    assert [name for name, _ in hub.sent].count(file) == 1


def test_those_that_want_a_text_at_once_wait_for_one_download(hub: HubServer) -> None:
    text = TextSource(name="t", dataset=TEXT, revision=commit_of(1), split="train")
    at_once(lambda: list(read_documents(text)))
    assert [name for name, _ in hub.sent].count("train.jsonl") == 1
