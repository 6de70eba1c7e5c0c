"""A job followed to its end: its log as it grows, also over lost connections. Knows no Ray."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

from orchestrator.ray_backend.submission.jobs import Cluster, ConnectionLostError, JobState
from trsp.errors import UnreachableError

SILENT_S = 60.0  # a log that says nothing for so long is opened anew: its connection may be dead
AGAIN_S = 2.0
GIVE_UP_S = 600.0

Write = Callable[[str], None]


class Follower:
    """Writes a job's log as it grows, each of its characters once.

    ``write`` takes pieces of the log as they come, ``say`` lines of ours.
    """

    def __init__(self, cluster: Cluster, job_id: str, write: Write, say: Write) -> None:
        self._cluster, self._job_id = cluster, job_id
        self._write, self._say = write, say
        self._written = 0  # characters
        self._lost_at: float | None = None  # on the monotonic clock

    def follow(self) -> JobState:
        """Write the log to its end; return how the job ended. May be called again if interrupted.

        Where the connection is lost, the log is taken up where it stopped. UnreachableError after
        ``GIVE_UP_S`` without an answer.
        """
        while True:
            try:
                if (state := self._follow_once()).over:
                    return state
            except ConnectionLostError as error:
                self._bear(error)
            time.sleep(AGAIN_S)

    def _follow_once(self) -> JobState:
        """Write the log as far as one connection goes; over only where that was to its end."""
        self._cluster.state(self._job_id)
        if self._lost_at is not None:
            self._say("connected again")
            self._lost_at = None
        ended = asyncio.run(self._read())
        state = self._cluster.state(self._job_id)
        return replace(state, over=state.over and ended)

    def _bear(self, error: ConnectionLostError) -> None:
        """Say that the connection was lost, once; UnreachableError where it was for too long."""
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
            self._say(
                f"lost the connection to {self._cluster.url} ({error}); trying again, the job "
                "goes on"
            )
        elif now - self._lost_at > GIVE_UP_S:
            raise UnreachableError(
                f"no answer from {self._cluster.url} for {GIVE_UP_S / 60:.0f} minutes ({error}); "
                "where its job still runs, the same command follows it again"
            ) from None

    async def _read(self) -> bool:
        """Read the log from its beginning, and write what is new; return whether it ended."""
        passed = 0
        async with aclosing(self._cluster.log(self._job_id)) as pieces:
            while True:
                try:
                    piece = await asyncio.wait_for(anext(pieces), SILENT_S)
                except StopAsyncIteration:
                    return True
                except TimeoutError:
                    return False
                new = piece[max(0, self._written - passed) :]
                passed += len(piece)
                self._written = max(self._written, passed)
                if new:
                    self._write(new)
