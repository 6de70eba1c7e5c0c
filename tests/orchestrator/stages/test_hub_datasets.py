"""Data sets of a hub on this machine, loaded by the real library: the commit that was hashed."""

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from orchestrator.stages.text_info import text_info
from tests.hub_server import HubServer, hub_server
from trsp.config import TextSource
from trsp.data.texts import read_documents
from trsp.errors import InvalidInputError

REPO = "datasets/org/texts"
TEXT = TextSource(name="t", dataset="org/texts", config="small")
CARD = b"---\nconfigs:\n- config_name: small\n  data_files: small/*.parquet\n---\n"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with hub_server(tmp_path / "hub-cache", monkeypatch) as hub:
        yield hub


def push(hub: HubServer, *rows: str) -> None:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": list(rows)}), file)
    hub.push(REPO, {"README.md": CARD, "small/train-0.parquet": file.getvalue()})


@pytest.mark.parametrize("limit", [None, 1], ids=["whole", "streamed"])
def test_what_is_loaded_is_what_was_hashed(hub: HubServer, limit: int | None) -> None:
    push(hub, "old", "rows")
    text, before = text_info(TEXT.model_copy(update={"max_documents": limit}))
    push(hub, "new")
    assert list(read_documents(text)) == ["old", "rows"][:limit]
    newer, after = text_info(TEXT)
    assert list(read_documents(newer)) == ["new"]
    assert before != after


def test_offline_another_commit_than_the_cached_is_refused(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(hub, "old")
    old, _ = text_info(TEXT)
    push(hub, "new")
    new, _ = text_info(TEXT)
    assert list(read_documents(new)) == ["new"]
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert list(read_documents(text_info(TEXT)[0])) == ["new"]
    with pytest.raises(InvalidInputError, match=r"is of commit .*2, not .*1"):
        list(read_documents(old))
