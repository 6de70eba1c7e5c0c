"""Rankings of layers, published round by round: a ranking is never finished, only deep enough."""

from orchestrator.store.files import StoreFiles
from orchestrator.store.stage_results import stage_folder
from trsp.records import RoundRecord


class Rankings:
    """The published rounds of each ranking: one file per round, in which one layer was removed."""

    def __init__(self, files: StoreFiles) -> None:
        self._files = files

    def publish(self, key: str, record: RoundRecord) -> None:
        """Write a round of the ranking ``key``, for all who can already use it."""
        self._files.write(_path(key, record.round), record.model_dump_json().encode())

    def rounds(self, key: str, start: int = 0) -> tuple[RoundRecord, ...]:
        """The published rounds from number ``start`` on, 0 being the first.

        They end before the first that is missing or unreadable.
        """
        records: list[RoundRecord] = []
        while stored := self._files.read_json(_path(key, start + len(records))):
            records.append(RoundRecord.model_validate(stored))
        return tuple(records)


def _path(key: str, number: int) -> str:
    return f"{stage_folder(key)}/rounds/{number:03d}.json"
