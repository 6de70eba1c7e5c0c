"""Commits and files of hub repositories, asked of a hub on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download

from orchestrator.grid.axes import ModelEntry
from orchestrator.grid.cells import ModelInfo
from orchestrator.stages.hub_files import HubRepo, hub_files
from orchestrator.stages.model_info import model_info
from orchestrator.stages.text_info import text_info
from tests.hub_server import HubServer, hub_server
from tests.tiny import write_jsonl
from trsp.config import TextSource
from trsp.errors import InvalidInputError, UnreachableError

MODEL = "models/org/tiny"
TEXTS = "datasets/org/texts"
CARD = b"""---
license: mit
configs:
- config_name: small
  data_files:
  - split: train
    path: small/train-*
- config_name: large
  data_files: large/*
---
# Texts
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with hub_server(tmp_path / "hub-cache", monkeypatch) as hub:
        yield hub


@pytest.fixture
def files(tiny_llama: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tiny_llama.iterdir() if path.is_file()}


def looked_up(**more: str) -> ModelInfo:
    return model_info(ModelEntry.model_validate({"source": "org/tiny", **more}))


def texts(config: str = "small", revision: str = "main") -> TextSource:
    return TextSource(name="t", dataset="org/texts", config=config, revision=revision)


def data(**changes: bytes) -> dict[str, bytes]:
    return {
        "README.md": changes.get("card", CARD),
        ".gitattributes": b"*.parquet lfs",
        "small/train-0.parquet": changes.get("small", b"small"),
        "large/train-0.parquet": changes.get("large", b"large"),
    }


# --- models -------------------------------------------------------------------


def test_a_hub_model_is_loaded_at_the_commit_that_was_hashed(
    hub: HubServer, files: dict[str, bytes]
) -> None:
    commit = hub.push(MODEL, files)
    info = looked_up()
    assert (info.source, info.revision, info.layers) == ("org/tiny", commit, 6)
    assert info.fingerprint.startswith("hub:")


def test_a_readme_changes_no_models_fingerprint(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.push(MODEL, files)
    first = looked_up()
    second_commit = hub.push(MODEL, {**files, "README.md": b"new", "onnx/model.onnx": b"x"})
    second = looked_up()
    assert second.revision == second_commit != first.revision
    assert second.fingerprint == first.fingerprint


def test_the_same_weights_in_another_format_change_no_fingerprint(
    hub: HubServer, files: dict[str, bytes]
) -> None:
    hub.push(MODEL, files)
    first = looked_up().fingerprint
    hub.push(MODEL, {**files, "consolidated.safetensors": b"x"})
    assert looked_up().fingerprint == first


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_that_matters_changes_a_models_fingerprint(
    hub: HubServer, files: dict[str, bytes], name: str
) -> None:
    hub.push(MODEL, files)
    first = looked_up().fingerprint
    hub.push(MODEL, {**files, name: files[name] + b" "})
    assert looked_up().fingerprint != first


def test_a_branch_that_cannot_be_asked_is_an_error_and_no_older_commit(
    hub: HubServer, files: dict[str, bytes]
) -> None:
    hub.push(MODEL, files)
    looked_up()
    hub.push(MODEL, {**files, "config.json": files["config.json"] + b" "})
    hub.failures = 100
    with pytest.raises(UnreachableError, match=r"org/tiny.*pin a commit .*HF_HUB_OFFLINE=1"):
        looked_up()


def test_a_hub_that_fails_twice_is_asked_a_third_time(
    hub: HubServer, files: dict[str, bytes]
) -> None:
    hub.push(MODEL, files)
    first = looked_up()
    hub.failures = 2
    assert looked_up() == first


def test_a_pinned_model_needs_no_hub_once_it_is_known(
    hub: HubServer, files: dict[str, bytes]
) -> None:
    commit = hub.push(MODEL, files)
    known = looked_up()
    hub.failures = 100
    assert looked_up(revision=commit) == known


def test_what_happens_to_be_cached_of_a_pinned_model_makes_no_key(
    hub: HubServer, files: dict[str, bytes]
) -> None:
    commit = hub.push(MODEL, files)
    for name in ("config.json", "model.safetensors"):
        hf_hub_download("org/tiny", name, revision=commit)
    hub.failures = 100
    with pytest.raises(UnreachableError, match="asked about only once"):
        looked_up(revision=commit)


def test_offline_the_commit_that_was_seen_last_counts(
    hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push(MODEL, files)
    known = looked_up()
    hub.push(MODEL, {**files, "config.json": files["config.json"] + b" "})
    hub.asked.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert looked_up() == known
    assert not hub.asked


def test_the_cache_alone_gives_the_hubs_fingerprint(
    hub: HubServer,
    files: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.push(MODEL, files)
    asked = looked_up()
    for name in files:
        hf_hub_download("org/tiny", name, revision=asked.revision)
    monkeypatch.setenv("TRSP_HOME", str(tmp_path / "new home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert looked_up() == asked


def test_a_repository_that_is_not_there_is_refused_at_once(hub: HubServer) -> None:
    with pytest.raises(InvalidInputError, match=r"org/tiny.*neither a local path nor on the hub"):
        looked_up()
    assert len(hub.asked) == 1


def test_a_hub_model_of_pickles_is_refused(hub: HubServer, files: dict[str, bytes]) -> None:
    pickled = {name: each for name, each in files.items() if not name.endswith(".safetensors")}
    hub.push(MODEL, {**pickled, "pytorch_model.bin": b"x"})
    with pytest.raises(InvalidInputError, match=r"has no \*\.safetensors"):
        looked_up()


# --- data sets ----------------------------------------------------------------


def test_a_dataset_is_loaded_at_the_commit_that_was_hashed(hub: HubServer) -> None:
    commit = hub.push(TEXTS, data())
    assert text_info(texts())[0].revision == commit


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"card": CARD + b"more prose"}, True),
        ({"card": CARD.replace(b"mit", b"apache-2.0")}, True),
        ({"large": b"of another config"}, True),
        ({"small": b"other rows"}, False),
        ({"card": CARD.replace(b"small/train-*", b"large/train-*")}, False),
    ],
    ids=["prose", "license", "another config's data", "data", "which files"],
)
def test_a_dataset_is_known_by_the_files_that_it_is_read_from(
    hub: HubServer, change: dict[str, bytes], same: bool
) -> None:
    hub.push(TEXTS, data())
    first = text_info(texts())[1]
    hub.push(TEXTS, data(**change))
    assert (text_info(texts())[1] == first) == same


def test_configs_and_splits_are_told_apart(hub: HubServer) -> None:
    hub.push(TEXTS, data())
    test_split = texts().model_copy(update={"split": "test"})
    assert len({text_info(each)[1] for each in (texts(), texts("large"), test_split)}) == 3


def test_a_dataset_without_a_card_is_known_by_all_its_data(hub: HubServer) -> None:
    files = data()
    del files["README.md"]
    hub.push(TEXTS, files)
    first = text_info(texts())[1]
    hub.push(TEXTS, {**files, "large/train-0.parquet": b"changed"})
    assert text_info(texts())[1] != first


def test_a_dataset_that_cannot_be_asked_is_an_error_and_no_other_key(hub: HubServer) -> None:
    hub.push(TEXTS, data())
    text_info(texts())
    hub.failures = 100
    with pytest.raises(UnreachableError, match="dataset 'org/texts'"):
        text_info(texts())


def test_a_dataset_offline_is_the_one_that_was_seen_last(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push(TEXTS, data())
    known = text_info(texts())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert text_info(texts()) == known


def test_a_commit_that_was_never_downloaded_is_refused_offline(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InvalidInputError, match="never downloaded here, and HF_HUB_OFFLINE"):
        hub_files(HubRepo("dataset", "org/texts", 40 * "a"))


def test_a_file_is_known_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    one, two, other = (
        text_info(write_jsonl(tmp_path / name, text))[1]
        for name, text in [("1.jsonl", "a"), ("2.jsonl", "a"), ("3.jsonl", "b")]
    )
    assert one == two != other
