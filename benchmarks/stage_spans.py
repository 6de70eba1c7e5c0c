"""When each attempt at a stage ran, by what a store holds of it: results, rounds and claim logs.

Results from before seconds were kept say only how long the work took. When their attempts began is
then read off the times of the claims' files, which a local store has.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from orchestrator.coordination.stage_log import CLAIMS_FOLDER, EntryKind
from orchestrator.stages.stage_specs import SCHEDULED, StageKind
from orchestrator.stages.timings import StageTimings, timings_in
from orchestrator.store.store import Store


@dataclass(frozen=True)
class Span:
    """One attempt at a stage, in seconds since the epoch.

    ``seconds`` is by phase, and empty where that was not kept; ``recorded_s`` is what the record
    says of its work. ``rounds``: when those of a ranking were published. ``reads``: the keys of the
    stages whose artifacts it read.
    """

    kind: StageKind
    key: str
    begin: float
    end: float
    node: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    recorded_s: float = 0.0
    cpus: float = 1.0
    gpus: float = 0.0
    reads: tuple[str, ...] = ()
    rounds: tuple[float, ...] = ()

    @property
    def length_s(self) -> float:
        return self.end - self.begin


def spans_of(uri: str) -> list[Span]:
    """Return the attempts that left something in the store, the first to begin first.

    Those are left out of which no time is known.
    """
    store = Store(uri)
    found = [
        span
        for kind in SCHEDULED
        for key in store.files.names(f"stages/{kind}")
        for span in _spans(store, kind, key)
    ]
    return sorted(found, key=lambda span: span.begin)


def _spans(store: Store, kind: StageKind, key: str) -> Iterator[Span]:
    folder = f"stages/{kind}/{key}"
    spec = store.files.read_json(f"{folder}/spec.json") or {}
    reads = tuple(spec.get("reads", ()))
    if kind is StageKind.RANKING:
        yield from _ranking(store, key, folder)
        return
    stored = store.files.read_json(f"{folder}/result.json") or {}
    recorded_s = stored.get("record", {}).get("seconds", 0.0)
    if times := timings_in(stored):
        yield _timed(kind, key, [times], reads, recorded_s)
    elif claimed := _claimed(store, folder):
        yield Span(kind, key, *claimed, recorded_s=recorded_s, reads=reads)


def _ranking(store: Store, key: str, folder: str) -> Iterator[Span]:
    """Yield one span per attempt that published rounds."""
    names = sorted(store.files.names(f"{folder}/rounds"))
    rounds = [store.files.read_json(f"{folder}/rounds/{name}") or {} for name in names]
    recorded_s = sum(each.get("seconds", 0.0) for each in rounds)
    by_attempt: dict[str, list[StageTimings]] = {}
    for each in rounds:
        if times := timings_in(each):
            by_attempt.setdefault(times.attempt, []).append(times)
    for published in by_attempt.values():
        yield _timed(StageKind.RANKING, key, published, (), recorded_s)
    if not by_attempt and (claimed := _claimed(store, folder)):
        paths = (store.files.local_path(f"{folder}/rounds/{name}") for name in names)
        when = tuple(path.stat().st_mtime for path in paths)
        yield Span(StageKind.RANKING, key, *claimed, recorded_s=recorded_s, rounds=when)


def _timed(
    kind: StageKind,
    key: str,
    times: list[StageTimings],
    reads: tuple[str, ...],
    recorded_s: float,
) -> Span:
    last = times[-1]
    return Span(
        kind,
        key,
        last.asked,
        last.ended,
        last.node,
        last.seconds,
        recorded_s,
        last.cpus,
        last.gpus,
        reads,
        tuple(each.ended for each in times) if kind is StageKind.RANKING else (),
    )


def _claimed(store: Store, folder: str) -> tuple[float, float] | None:
    """Return when the attempt that left the result was claimed, and committed or given back.

    It is the first one that committed; of rankings, which commit nothing, the last one.
    """
    if not store.is_local:
        return None
    claims = store.files.local_path(f"{folder}/{CLAIMS_FOLDER}")
    entries = [(path, _entry(path)) for path in sorted(claims.glob("[0-9]*.json"))]
    found: tuple[float, float] | None = None
    for (path, entry), (after, end) in pairwise(entries):
        if entry.get("kind") == EntryKind.CLAIM and end.get("kind") != EntryKind.CLAIM:
            found = path.stat().st_mtime, after.stat().st_mtime
            if end.get("kind") == EntryKind.COMMIT:
                break
    return found


def _entry(path: Path) -> dict[str, Any]:
    try:
        entry = json.loads(path.read_bytes())
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
