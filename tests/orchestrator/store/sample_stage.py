"""A stage and its result, for the tests of the store."""

from pathlib import Path

from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.store import Store

SPEC = StageSpec(
    StageKind.PRUNE, {"layers": [1, 2]}, locations={"model": "/secret/place"}, reads=("transfer-1",)
)
KEY = SPEC.key
RANKING = StageSpec(StageKind.RANKING, {"selector": "gates"}).key


def commit(store: Store, text: str = "weights") -> None:
    with store.stages.staging(KEY) as folder:
        (folder / "model.safetensors").write_text(text)
        (folder / "inside").mkdir()
        (folder / "inside" / "config.json").write_text("{}")
        store.stages.commit(SPEC, {"params": 3, "seconds": 1.5}, folder)


def stage_folder(store: Store, key: str = KEY) -> Path:
    return Path(store.stages.uri(key))


def files_folders(store: Store) -> list[Path]:
    return sorted(stage_folder(store).glob("files-*"))
