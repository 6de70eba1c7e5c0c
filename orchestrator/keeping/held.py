"""What lies in a store's stages, by kind and stage: one listing, and a read for each with weights.

Decides nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.coordination.stage_log import CLAIMS_FOLDER
from orchestrator.parallel import at_once
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.files import FileFacts, UnreadableRecordError
from orchestrator.store.store import Store


class What(StrEnum):
    """What a file of a stage is there for."""

    RANKINGS = "rankings"
    WEIGHTS = "stage two's whole weights"
    CHECKPOINTS = "checkpoints"
    RESULTS = "records"  # scores and speeds, and what was asked
    CLAIMS = "who worked on what"
    LOGS = "logs"
    SNAPSHOTS = "snapshots"
    LEFT = "left by attempts that never committed"


_FOLDERS: Mapping[str, What] = {
    "rounds": What.RANKINGS,
    "snapshots": What.SNAPSHOTS,
    "ranks": What.LOGS,
    "logs": What.LOGS,
    "failures": What.LOGS,
    CLAIMS_FOLDER: What.CLAIMS,
}
_ARTIFACTS: Mapping[str, What] = {
    StageKind.PRUNE: What.CHECKPOINTS,
    StageKind.TRANSFER: What.WEIGHTS,
}
ARTIFACTS_PREFIX = "files-"  # of the names of folders with a stage's artifacts


@dataclass(frozen=True)
class HeldStage:
    """All that a store holds of one stage."""

    key: str
    sizes: Mapping[What, int] = field(default_factory=dict)  # in bytes
    changed: float = 0.0  # when a file of it was written last, in seconds since the epoch
    has_result: bool = False  # a ``result.json``, or a round of a ranking
    readable: bool = True  # whether the result is one

    @property
    def kind(self) -> str:
        """The kind of the stage, which its key begins with."""
        return self.key.rpartition("-")[0]

    @property
    def size_bytes(self) -> int:
        """The bytes of all its files."""
        return sum(self.sizes.values())


def held_stages(store: Store) -> tuple[HeldStage, ...]:
    """Return what the store holds of every stage, by key. OSError where it cannot be read."""
    files: dict[str, dict[str, FileFacts]] = {}
    for path, facts in store.files.tree("stages").items():
        _, key, rest = [*path.split("/", 2), "", ""][:3]
        if rest:
            files.setdefault(key, {})[rest] = facts
    return tuple(at_once(lambda key: _held(store, key, files[key]), sorted(files)))


def _held(store: Store, key: str, files: Mapping[str, FileFacts]) -> HeldStage:
    """Return what these files of a stage come to; of artifacts, which its result names."""
    stored, readable = None, True
    if any(path.startswith(ARTIFACTS_PREFIX) for path in files):
        try:
            stored = store.stages.stored(key) or {}
        except UnreadableRecordError:
            readable = False
    named = "" if not stored or stored.get("dropped") else stored.get("files") or ""
    return HeldStage(
        key,
        _sizes(key, files, named),
        max(facts.changed for facts in files.values()),
        any(path == "result.json" or path.startswith("rounds/") for path in files),
        readable,
    )


def _sizes(key: str, files: Mapping[str, FileFacts], named: str) -> dict[What, int]:
    sizes: dict[What, int] = {}
    for path, facts in files.items():
        what = _what(key, path.partition("/")[0], named)
        sizes[what] = sizes.get(what, 0) + facts.size_bytes
    return sizes


def _what(key: str, name: str, named: str) -> What:
    """Return what a file or folder of a stage's folder is for; ``named``: by its result."""
    if name.startswith(ARTIFACTS_PREFIX):
        kind = key.rpartition("-")[0]
        return _ARTIFACTS.get(kind, What.RESULTS) if name == named else What.LEFT
    if name.startswith("log-"):
        return What.LOGS
    return _FOLDERS.get(name, What.RESULTS)


def by_kind(stages: Iterable[HeldStage]) -> dict[What, tuple[int, int]]:
    """Return of each kind of thing the bytes, and the number of stages that hold any."""
    found = {}
    for what in What:
        sizes = [stage.sizes[what] for stage in stages if stage.sizes.get(what)]
        found[what] = (sum(sizes), len(sizes))
    return found
