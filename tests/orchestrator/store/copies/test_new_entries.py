"""What is put into a node's cache by who made it: kept whole, or not at all."""

from orchestrator.store.copies.node_cache import entry_name
from tests.orchestrator.store.copies.test_node_cache import cache, entry, names


def test_a_new_entry_is_seen_by_nobody_before_it_is_kept() -> None:
    calls: list[str] = []
    with cache().new("model") as new:
        assert new is not None
        (new.folder / "weights").write_text("trained")
        with cache().new("model") as second:
            assert second is None
        new.keep()
        with entry(cache(), "model", "weights", calls) as folder:
            assert (folder / "weights").read_text() == "trained"
    assert calls == []
    assert names(cache()) == {"model"}


def test_a_new_entry_that_is_not_kept_is_gone() -> None:
    with cache().new("model") as new:
        assert new is not None
        (new.folder / "weights").write_text("trained")
    assert names(cache()) == set()


def test_a_new_entry_without_room_is_gone() -> None:
    with cache(limit_bytes=3).new("model") as new:
        assert new is not None
        (new.folder / "weights").write_text("trained")
        new.keep()
        assert (new.folder / "weights").exists(), "it is in use"
    assert names(cache()) == set()


def test_the_name_of_an_entry_tells_nothing_of_the_store() -> None:
    name = entry_name("s3://key:secret@bucket", "stages/prune/prune-1/files-a")
    assert name.isalnum()
    assert name != entry_name("s3://key:secret@bucket", "stages/prune/prune-1/files-b")
