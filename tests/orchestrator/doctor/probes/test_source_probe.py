"""The grid's models and texts as a process finds them."""

from pathlib import Path

from orchestrator.doctor.probes.source_probe import Source, source_states


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
