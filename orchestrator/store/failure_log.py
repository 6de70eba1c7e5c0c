"""Failed attempts at stages, kept beside the results.

Each leaves a record for machines and a text for people.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict

from pydantic import TypeAdapter

from orchestrator.coordination.stage_log import stage_folder
from orchestrator.redact import redact
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.files import StoreFiles, UnreadableRecordError

_FAILURE = TypeAdapter(Failure)


class FailureLog:
    """The failed attempts at each stage, by the stage's key."""

    def __init__(self, files: StoreFiles) -> None:
        self._files = files

    def record(self, key: str, failure: Failure, log: str = "") -> None:
        """Keep a failure. ``log``, the last lines of what was printed, ends the text for people.

        A claim that was lost is no failure of the stage, which another attempt computes: nothing is
        kept of it.
        """
        if failure.kind is FailureKind.CLAIM_LOST:
            return
        attempt, stage = f"{time.time_ns()}", stage_folder(key)
        text = f"{failure.text}\n{redact(log) or failure.details}"
        self._files.write(f"{stage}/log-{attempt}.txt", text.encode())
        self._files.write_json(f"{stage}/failures/{attempt}.json", asdict(failure))

    def history(self, key: str) -> tuple[Failure, ...]:
        """The recorded failures of a stage, oldest first; unreadable ones are left out."""
        return tuple(self._readable(f"{stage_folder(key)}/failures"))

    def forget(self, key: str) -> None:
        """Forget that a stage has failed. The texts for people stay."""
        with suppress(FileNotFoundError):
            self._files.remove_folder(f"{stage_folder(key)}/failures")

    def has_any(self, key: str) -> bool:
        """Whether a stage has failed, by one request."""
        return bool(self._files.names(f"{stage_folder(key)}/failures"))

    def _readable(self, folder: str) -> Iterator[Failure]:
        """Yield the failures in a folder that can be read.

        The others keep nobody from anything: what is wrong is found out again.
        """
        for name in self._files.names(folder):
            with suppress(UnreadableRecordError, ValueError):
                yield _FAILURE.validate_python(self._files.read_json(f"{folder}/{name}"))
