"""A stage and its result, for the tests of the store."""

from pathlib import Path

from orchestrator.coordination.stage_log import EntryKind
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.claims import Held, Ticket
from orchestrator.store.store import Store

SPEC = StageSpec(
    StageKind.PRUNE, {"layers": [1, 2]}, locations={"model": "/secret/place"}, reads=("transfer-1",)
)
KEY = SPEC.key
RANKING = StageSpec(StageKind.RANKING, {"selector": "gates"}).key


def ticket_of(store: Store, key: str = KEY, owner: str = "me") -> Ticket:
    """The ticket of a claim that was just taken."""
    taken = store.claims.take(key, owner)
    assert isinstance(taken, Ticket)
    return taken


def unclaimed(key: str, attempt: str = "a") -> Ticket:
    """The ticket of an attempt at a stage that nobody ever claimed."""
    return Ticket(key, 0, attempt)


def holder(store: Store, key: str = KEY) -> Held | None:
    """Who claims a stage, alive or dead, by its log; None where nobody does."""
    _, last = store.claims.log.last(key)
    return Held(last.owner, last.process) if last and last.kind is EntryKind.CLAIM else None


def files_uri(store: Store, key: str = KEY) -> str | None:
    """The address of a stage's artifacts as the store holds it now; None where it has none."""
    stored = store.stages.stored(key)
    return store.stages.files_uri(key, stored) if stored else None


def commit(store: Store, text: str = "weights") -> None:
    ticket = ticket_of(store)
    with store.stages.staging(ticket) as folder:
        (folder / "model.safetensors").write_text(text)
        (folder / "inside").mkdir()
        (folder / "inside" / "config.json").write_text("{}")
        store.stages.commit(ticket, SPEC, {"params": 3, "seconds": 1.5}, folder)
    store.claims.release(ticket)


def stage_folder(store: Store, key: str = KEY) -> Path:
    return Path(store.stages.uri(key))


def files_folders(store: Store) -> list[Path]:
    return sorted(stage_folder(store).glob("files-*"))
