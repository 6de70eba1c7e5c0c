"""The logs of a stage as they lie in its store, for whoever reads them. Knows no cells."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from orchestrator.coordination.stage_log import stage_folder
from orchestrator.redact import redact
from orchestrator.store.logs.rank_log import LOG_BYTES, LOGS
from orchestrator.store.store import Store

MOST_ATTEMPTS = 10  # whose logs are kept: a preempted stage may have hundreds
_LOG = re.compile(r"(?P<began>\d+)-(?P<attempt>.+)-(?P<rank>\d{5})\.txt")
_REPORT = re.compile(r"(?P<attempt>.+)-(?P<rank>\d{5})")
_PRINTED_OVER = re.compile(r"[^\n]*\r(?!\n)")
_FAILED = re.compile(r"log-(?P<when>\d+)\.txt")


@dataclass(frozen=True)
class AttemptLog:
    """What one attempt at a stage has left: a path in the store for each rank."""

    attempt: str
    began: float  # seconds since the epoch; of one that only left a failure, when it ended
    ranks: Mapping[int, str] = field(default_factory=dict)
    runs: bool = False  # its ranks print into these files now, or were killed as they did


def attempt_logs(store: Store, key: str) -> tuple[AttemptLog, ...]:
    """Return the logs of all attempts at a stage, the oldest first: three LISTs at most.

    An attempt that was killed before it wrote one is known by its failure, as one of rank 0.
    """
    folder = stage_folder(key)
    names = store.files.names(folder)
    found: dict[str, AttemptLog] = {}
    for name in store.files.names(f"{folder}/{LOGS}") if LOGS in names else ():
        if match := _LOG.fullmatch(name):
            _add(
                found,
                match["attempt"],
                int(match["began"]) / 1e3,
                int(match["rank"]),
                f"{LOGS}/{name}",
            )
    kept = set(found)
    for name in store.files.names(f"{folder}/ranks") if "ranks" in names else ():
        if (match := _REPORT.fullmatch(name)) and match["attempt"] not in kept:
            path = f"ranks/{name}/output.txt"
            _add(found, match["attempt"], float("inf"), int(match["rank"]), path)
    if not found:
        for name in names:
            if match := _FAILED.fullmatch(name):
                _add(found, name, int(match["when"]) / 1e9, 0, name)
    return tuple(sorted(found.values(), key=lambda each: each.began))


def _add(found: dict[str, AttemptLog], attempt: str, began: float, rank: int, path: str) -> None:
    before = found.get(attempt, AttemptLog(attempt, began))
    found[attempt] = AttemptLog(
        attempt,
        min(before.began, began),
        {**before.ranks, rank: path},
        runs=path.startswith("ranks/"),
    )


def remove_old_logs(store: Store, key: str) -> None:
    """Delete the logs of all but the last attempts at a stage. Only for the holder of its claim."""
    logs = [each for each in attempt_logs(store, key) if not each.runs]
    for log in logs[:-MOST_ATTEMPTS]:
        for path in log.ranks.values():
            with suppress(FileNotFoundError):
                store.files.remove_file(f"{stage_folder(key)}/{path}")


def read_log(store: Store, key: str, path: str) -> str:
    """Return the end of a log, without credentials; "" where it is gone meanwhile.

    Of a line that was printed over, as bars of progress are, it has what came last.
    """
    data = store.files.read(f"{stage_folder(key)}/{path}") or b""
    return redact(_PRINTED_OVER.sub("", data[-LOG_BYTES:].decode(errors="replace")))
