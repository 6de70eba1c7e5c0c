"""What of a grid is examined."""

from pathlib import Path

from orchestrator.doctor.subject import subject_of
from orchestrator.grid.schema import load_grid
from tests.tiny_grid import tiny_grid


def test_a_grid_is_examined_by_its_own_addresses_folders_and_sources(
    tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    engine = {"zero_stage": 3, "offload_optimizer": "nvme", "nvme_path": "/nvme"}
    grid = tiny_grid(
        tmp_path, tiny_llama, text_file, engine=engine, models=[str(tiny_llama), "a/b"]
    )
    subject = subject_of(load_grid(grid))
    assert subject.store == str(tmp_path / "store")
    assert subject.tracking == f"sqlite:///{tmp_path}/mlflow.db"
    assert subject.folders == (("store", subject.store), ("engine.nvme_path", "/nvme"))
    assert [(each.location, each.kind) for each in subject.sources] == [
        (str(tiny_llama), "local"),
        ("a/b", "model"),
        (str(text_file), "local"),
    ]


def test_without_a_grid_the_defaults_are_examined() -> None:
    assert subject_of(None).store.endswith("/store")
    assert subject_of(None).sources == ()
