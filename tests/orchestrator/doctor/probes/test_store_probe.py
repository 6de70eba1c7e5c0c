"""The store as probes use it: what works, what does not, and that nothing stays behind."""

from pathlib import Path

from orchestrator.doctor.probes.store_probe import (
    leave_word,
    prefix_uri,
    remove_prefix,
    use_store,
)


def test_a_folder_serves_and_shows_what_the_driver_wrote(tmp_path: Path) -> None:
    prefix = prefix_uri(str(tmp_path))
    leave_word(prefix)
    used = use_store(prefix, "node")
    assert (used.sees_driver, used.is_exclusive, used.error) == (True, True, "")
    assert {"read", "write", "list", "claim", "remove"} <= used.seconds.keys()


def test_another_folder_under_the_same_name_is_noticed(tmp_path: Path) -> None:
    leave_word(prefix_uri(str(tmp_path / "one"), "doctor"))
    used = use_store(prefix_uri(str(tmp_path / "another"), "doctor"), "node")
    assert (used.sees_driver, used.failed) == (False, "")


def test_a_store_that_is_a_file_fails_at_the_first_write(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    used = use_store(prefix_uri(str(tmp_path / "store")), "node")
    assert used.failed in ("read", "write")
    assert used.error


def test_an_unknown_kind_of_store_is_told_in_words() -> None:
    used = use_store("ftp://host/folder", "node")
    assert used.failed == "open"
    assert "s3://bucket/prefix" in used.error


def test_nothing_stays_behind(tmp_path: Path) -> None:
    prefix = prefix_uri(str(tmp_path))
    leave_word(prefix)
    use_store(prefix, "node")
    remove_prefix(prefix)
    assert list(tmp_path.iterdir()) == []
