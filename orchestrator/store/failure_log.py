"""Failed attempts at stages, kept beside the results.

Each leaves a record for machines and a text for people.
"""

import time
from dataclasses import asdict

from pydantic import TypeAdapter

from orchestrator.redact import redact
from orchestrator.store.failures import Failure
from orchestrator.store.files import StoreFiles
from orchestrator.store.stage_results import stage_folder

_FAILURE = TypeAdapter(Failure)


class FailureLog:
    """The failed attempts at each stage, by the stage's key."""

    def __init__(self, files: StoreFiles) -> None:
        self._files = files

    def record(self, key: str, failure: Failure, log: str = "") -> None:
        """Keep a failure. ``log``, the last lines of what was printed, ends the text for people."""
        attempt, stage = f"{time.time_ns()}", stage_folder(key)
        text = f"{failure.text}\n{redact(log) or failure.details}"
        self._files.write(f"{stage}/log-{attempt}.txt", text.encode())
        self._files.write_json(f"{stage}/failures/{attempt}.json", asdict(failure))

    def history(self, key: str) -> tuple[Failure, ...]:
        """The recorded failures of a stage, oldest first; unreadable ones are left out."""
        folder = f"{stage_folder(key)}/failures"
        stored = [self._files.read_json(f"{folder}/{name}") for name in self._files.names(folder)]
        return tuple(_FAILURE.validate_python(value) for value in stored if value)
