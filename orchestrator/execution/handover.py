"""What the stages of one chain hand to each other in memory, and the order of their commits.

Stage two and the checkpoint that is made of it are committed by one entry of stage two's log: its
whole weights are then never written. An object store gets a checkpoint while the next stage
computes, and nothing of that stage before the checkpoint is committed. Loads torch only within.
"""

import contextvars
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.coordination.stage_log import Prepared, Ticket
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.stages.timings import StageTimings
from orchestrator.store.store import Store


class EarlierFailedError(Exception):
    """What a stage of a chain builds on could not be committed: its own work counts as nothing."""


@dataclass(frozen=True)
class _Trained:
    """Stage two as it was trained, of which nothing is in the store yet."""

    ticket: Ticket
    spec: StageSpec
    record: Mapping[str, Any]
    versions: Mapping[str, str]
    timings: StageTimings
    keep: Callable[[], None]


class Handover:
    """The model between two stages of a chain, and what is not yet committed of it.

    ``done`` is told the key of every stage as it is committed, from any thread.
    """

    def __init__(self, store: Store, done: Callable[[str], None]) -> None:
        self._store, self._done = store, done
        self._held: tuple[str, Any, Any] | None = None  # key, model, tokenizer
        self._trained: _Trained | None = None
        self._upload: _Upload | None = None
        self._open = ExitStack()  # with the folder that is being uploaded
        self._error: Exception | None = None  # of an upload
        self.is_decided = False  # whether the one entry for two stages was perhaps written

    # --- the model --------------------------------------------------------------

    def give(self, key: str, model: Any, tokenizer: Any) -> None:
        """Keep what the stage ``key`` has left for the next one, without anything around it."""
        from trsp.distributed.own_storage import give_own_storage

        give_own_storage(model)
        self._held = (key, model, tokenizer)

    def take(self, spec: StageSpec) -> tuple[Any, Any] | None:
        """Return the model and the tokenizer that the stage reads; None where they are not here."""
        if self._held is None or self._held[0] not in spec.reads:
            return None
        return self._held[1:]

    # --- commits ----------------------------------------------------------------

    @property
    def keep_trained(self) -> Callable[[], None] | None:
        """What commits stage two by itself, where it was trained and is not committed; else None.

        ``release`` comes before.
        """
        return None if self._trained is None else self._trained.keep

    @property
    def waits_for_next(self) -> bool:
        """Whether the next stage is what is to commit stage two, and has not come to that."""
        return self._trained is not None and self._upload is None

    def holds(self, key: str) -> bool:
        """Whether this stage was trained and is not committed."""
        return self._trained is not None and self._trained.ticket.key == key

    def hold(
        self,
        ticket: Ticket,
        spec: StageSpec,
        record: Mapping[str, Any],
        versions: Mapping[str, str],
        timings: StageTimings,
        keep: Callable[[], None],
    ) -> None:
        """Keep the record of stage two, which is to be committed with the checkpoint made of it.

        ``keep`` commits it by itself, with its whole weights, where there is no such checkpoint.
        """
        self._trained = _Trained(ticket, spec, record, versions, timings, keep)

    def release(self) -> None:
        """Forget the record of stage two, which is to be committed by itself."""
        self._trained = None

    @contextmanager
    def staging(self, ticket: Ticket) -> Iterator[Path]:
        """Yield a folder for artifacts as ``StageResults.staging`` does.

        It stays, where ``commit`` has begun to upload it, until that is over.
        """
        with ExitStack() as stack:
            yield stack.enter_context(self._store.stages.staging(ticket))
            if self._upload is not None:
                self._open = stack.pop_all()
                self._upload.start()

    def commit(
        self,
        ticket: Ticket,
        spec: StageSpec,
        record: Mapping[str, Any],
        files: Path | None,
        versions: Mapping[str, str],
        times: Callable[[], StageTimings],
    ) -> None:
        """Commit a stage's result, once all that it builds on is; of a checkpoint, perhaps later.

        Raises what ``StageResults.commit`` does. EarlierFailedError: what it builds on failed.
        """
        self.is_committed(wait=True)

        def work(times: Callable[[], StageTimings]) -> None:
            stages = self._store.stages
            self._commit_now(stages.prepare(ticket, spec, record, files, versions, times))

        if spec.kind is StageKind.PRUNE and not self._store.is_local:
            before = times()  # for the stage's stopwatch is not this thread's
            self._upload = _Upload(lambda: work(before.commit_over))
        else:
            work(times)

    def _commit_now(self, prepared: Prepared) -> None:
        """Commit a stage whose artifacts are in the store, with stage two where that waits."""
        trained, stages = self._trained, self._store.stages
        if trained is None:
            stages.commit_prepared(prepared)
        else:
            ticket, spec, record = trained.ticket, trained.spec, trained.record
            versions, timings = trained.versions, trained.timings
            first = stages.prepare(ticket, spec, record, None, versions, lambda: timings)
            self.is_decided = True
            stages.commit_prepared(first, prepared)
            self._trained = None
            self._done(trained.ticket.key)
        self._done(prepared.ticket.key)

    def is_committed(self, *, wait: bool) -> bool:
        """Return whether all checkpoints are committed; with ``wait``, once they are.

        EarlierFailedError: one will not be.
        """
        if self._upload is not None and not self._upload.is_over(wait=wait):
            return False
        if (error := self.settle()) is not None:
            raise EarlierFailedError(str(error)) from error
        return True

    def settle(self) -> Exception | None:
        """Wait for what is being committed; return what it failed with."""
        if self._upload is None:
            return self._error
        self._upload.is_over(wait=True)
        self._error, self._upload = self._upload.error, None
        self._open.close()
        return self._error


class _Upload:
    """A commit in a thread of its own, as patient with the store as the stage is."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.error: Exception | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run, work), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_over(self, *, wait: bool) -> bool:
        """Return whether it has ended, well or not; with ``wait``, once it has."""
        self._thread.join(None if wait else 0)
        return not self._thread.is_alive()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.error = error
