"""Rankings of layers, published round by round: a ranking is never finished, only deep enough."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from orchestrator.coordination.stage_log import (
    ClaimLostError,
    StageLog,
    Ticket,
    stage_folder,
)
from orchestrator.stages.timings import StageTimings
from orchestrator.store.files import StoreFiles, UnreadableRecordError
from trsp.records import RoundRecord


@dataclass(frozen=True)
class Published:
    """The rounds of a ranking up to the first that is missing or cannot be read."""

    rounds: tuple[RoundRecord, ...]
    unreadable: UnreadableRecordError | None = None  # of the file that ends them


class Rankings:
    """The published rounds of each ranking: one file per round, in which one layer was removed."""

    def __init__(self, files: StoreFiles, log: StageLog) -> None:
        self._files, self._log = files, log

    def publish(
        self, ticket: Ticket, record: RoundRecord, times: Callable[[], StageTimings] | None = None
    ) -> None:
        """Write a round of a ranking, for all who can already use it; ``times`` as in ``commit``.

        Each is written once, and follows from those before it: the rounds of two attempts never
        mix. ClaimLostError: the ranking is no longer the attempt's own, or the round was published
        by another.
        """
        path = _path(ticket.key, record.round)
        self._log.require(ticket)
        beside = {"timings": times().to_json()} if times else {}
        data = json.dumps(record.model_dump(mode="json") | beside, allow_nan=False).encode()
        if self._files.create(path, data):
            return
        standing = self._files.read(path)
        if _is_torn(standing):
            self._files.write(path, data)
        elif standing != data:
            raise ClaimLostError(ticket.key)

    def rounds(self, key: str, start: int = 0) -> tuple[RoundRecord, ...]:
        """The published rounds from number ``start`` on, 0 being the first.

        They end before the first that is missing or torn. UnreadableRecordError: one is no round.
        """
        published = self.published(key, start)
        if published.unreadable is not None:
            raise published.unreadable
        return published.rounds

    def published(self, key: str, start: int = 0) -> Published:
        """The rounds from number ``start`` on that can be used, and what is wrong with the next."""
        records: list[RoundRecord] = []
        try:
            while (record := self._round(_path(key, start + len(records)))) is not None:
                records.append(record)
        except UnreadableRecordError as error:
            return Published(tuple(records), error)
        return Published(tuple(records))

    def _round(self, path: str) -> RoundRecord | None:
        stored = self._files.read_json(path)
        if stored is None:
            return None
        try:
            return RoundRecord.model_validate(stored)
        except ValidationError as error:
            raise UnreadableRecordError(self._files.shown(path), what_is_wrong(error)) from error


def what_is_wrong(error: ValidationError) -> str:
    """The first thing that is wrong with a record: ``scores.1: Input should be a valid number``."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")


def _is_torn(data: bytes | None) -> bool:
    """Whether a round's file is as good as not there: a lost power supply leaves such files."""
    try:
        return json.loads(data or b"") is None
    except ValueError:
        return True


def _path(key: str, number: int) -> str:
    return f"{stage_folder(key)}/rounds/{number:03d}.json"
