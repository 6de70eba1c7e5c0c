"""Where stage results live, one folder per key, and who works on what. The store is the truth.

It lies on a local disk, a shared file system, S3 or GCS. Everything is written whole or not at all;
``result.json`` comes last and means done. It knows nothing of cells or MLflow.

    ROOT/grids/KEY.json                     a grid that ran here: its settings, who, how far, on
                                            which hardware (orchestrator/kept_grids)
    ROOT/layouts/KEY.json                   how far the ladder was climbed, for stages that ran out
                                            of memory
    ROOT/memory/DEVICE.json                 measured beside estimated memory of a kind of device
    ROOT/stages/KIND/KEY/spec.json          what was asked: the resolved inputs that the key hashes
                         rounds/000.json    of a ranking only: one removed layer each, published
                                            while the ranking runs
                         snapshots/         of a stage that still trains, gone when it is done
                                            (trsp/training/snapshots.py)
                         ranks/             of a stage that runs (rank_reports.py)
                         files-ATTEMPT/     artifacts: weights, checkpoint
                         result.json        the record, and the name of its files folder
                         failures/ATTEMPT.json, log-ATTEMPT.txt
                         logs/              what each rank printed (orchestrator/store/logs)
                         claims/000001.json who claimed it, gave it back, committed: the highest
                                            number counts (orchestrator/coordination/stage_log.py)
    ROOT/wishes/GRID/                       what people wish of the drivers of a grid
                                            (orchestrator/coordination/wishes.py)
    ROOT/drivers/OWNER.json                 signs of life of a driver, and what it works on

Of KIND ``score`` are the items of evaluations (orchestrator/stages/score_items.py): no stage is
started for one, and none is removed while the store stands. ``result.json`` also holds the
``versions`` of the libraries that the result was computed with.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from orchestrator.coordination.stage_log import stage_folder
from orchestrator.coordination.wishes import Wishes
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.store.claims import Claims
from orchestrator.store.failure_log import FailureLog
from orchestrator.store.files import StoreFiles, UnreadableRecordError
from orchestrator.store.rankings import Rankings
from orchestrator.store.stage_results import StageResults


class JsonDocuments:
    """Small JSON documents by key, one file each: ``NAME/KEY.json``."""

    def __init__(self, files: StoreFiles, name: str) -> None:
        self._files, self._name = files, name

    def save(self, key: str, document: Mapping[str, Any]) -> None:
        """Write a document, in place of an earlier one of this key."""
        self._files.write_json(f"{self._name}/{key}.json", document)

    def names(self) -> frozenset[str]:
        """The names of the documents' files: ``KEY.json``."""
        return frozenset(self._files.names(self._name))

    def load(self, key: str) -> dict[str, Any]:
        """The document that was saved last; empty where there is none that can be read.

        Documents hold what is found out again: the next one takes the place of such a file.
        """
        with suppress(UnreadableRecordError):
            stored = self._files.read_json(f"{self._name}/{key}.json")
            if isinstance(stored, dict):
                return stored
        return {}


class Items:
    """The results that nobody claims, for any two of one key are equal: items of evaluations."""

    def __init__(self, files: StoreFiles, stages: StageResults) -> None:
        self._files, self._stages = files, stages

    def commit(
        self, spec: StageSpec, record: Mapping[str, Any], versions: Mapping[str, str]
    ) -> None:
        """Commit an item's result; where one is there, that one stays."""
        self._stages.write_spec(spec)
        result = {"record": record, "files": None, "versions": versions}
        data = json.dumps(result, indent=1, allow_nan=False).encode()
        path = f"{stage_folder(spec.key)}/result.json"
        if not self._files.create(path, data) and self._files.read_json(path) is None:
            self._files.write(path, data)  # a power failure left it torn


class Store:
    """All that lies under one root, by topic. ``StoreFiles`` says what ``uri`` may be."""

    def __init__(self, uri: str) -> None:
        self.files = StoreFiles(uri)
        self.claims = Claims(self.files)
        self.stages = StageResults(self.files, self.claims.log)
        self.items = Items(self.files, self.stages)
        self.wishes = Wishes(self.files)
        self.rankings = Rankings(self.files, self.claims.log)
        self.failures = FailureLog(self.files)
        # By a grid's key, all that its results can be read by, without its file and models.
        self.grids = JsonDocuments(self.files, "grids")
        # For all drivers, by a key of stages that need as much memory: the layout at which these
        # are to begin.
        self.layouts = JsonDocuments(self.files, "layouts")
        # By a kind of device, what a small training took there beside its estimate.
        self.memory = JsonDocuments(self.files, "memory")

    @property
    def uri(self) -> str:
        """The root's address, as it was given but for a slash at its end."""
        return self.files.uri

    @property
    def is_local(self) -> bool:
        """Whether the root lies on a file system of this machine, its own or a shared one."""
        return self.files.is_local
