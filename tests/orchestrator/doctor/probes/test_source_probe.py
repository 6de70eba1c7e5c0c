"""The grid's models and texts as a process finds them."""

from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download

from orchestrator.doctor.probes.source_probe import Source, source_states
from orchestrator.stages import hub_files as hub_files_module
from tests.hub_server import hub_server


def test_equal_folders_have_equal_content_wherever_they_lie(
    tiny_llama: Path, tmp_path: Path
) -> None:
    copy = tmp_path / tiny_llama.name
    copy.mkdir()
    for file in tiny_llama.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    here, there = source_states(Source("m", str(each), "local") for each in (tiny_llama, copy))
    assert here.content == there.content
    (copy / "config.json").write_text("{}")
    assert source_states([Source("m", str(copy), "local")])[0].content != here.content


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    (state,) = source_states([Source("t", str(tmp_path / "gone.jsonl"), "local")])
    assert "gone.jsonl" in state.error


def test_a_hub_that_may_not_be_asked_is_an_error_of_that_source() -> None:
    (state,) = source_states([Source("m", "nobody/nothing", "model")])
    assert state.error
    assert not state.is_cached


def test_a_hub_source_is_known_by_the_commit_that_a_run_would_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_server(tmp_path / "cache", monkeypatch) as hub:
        commit = hub.push("models/org/tiny", {"config.json": b"{}"})
        (state,) = source_states([Source("m", "org/tiny", "model")])
    assert (state.content, state.error) == (commit, "")


def test_a_name_that_the_hub_does_not_know_is_told_from_a_hub_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_server(tmp_path / "cache", monkeypatch):
        (state,) = source_states([Source("m", "org/tinny", "model")])
    assert "check the name" in state.error


def test_a_hub_that_is_away_says_whether_a_copy_was_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_files_module, "_WAITS_S", ())
    with hub_server(tmp_path / "cache", monkeypatch) as hub:
        hub.push("models/org/tiny", {"config.json": b"{}"})
        hub.push("models/org/other", {"config.json": b"{}"})
        hf_hub_download("org/tiny", "config.json")
        hub.failures = 99
        states = source_states(Source("m", f"org/{name}", "model") for name in ("tiny", "other"))
    assert [state.is_cached for state in states] == [True, False]
    assert all("cannot be reached" in state.error for state in states)
