"""A cluster's jobs without a cluster: the border that submitting and following see."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from orchestrator.ray_backend.submission.jobs import Cluster, ConnectionLostError, Job, JobState

LOST = "lost"  # a piece of a log: the connection breaks there
SILENCE = "silence"  # a piece of a log: nothing comes any more, and the connection stays open


@dataclass
class FakeCluster:
    """``logs``: the pieces that each reading of the log brings; ``states``: each answer in turn.

    The last of both is given again and again. None among the states: no answer.
    """

    logs: Sequence[Sequence[str]] = ((),)
    states: Sequence[JobState | None] = (JobState(True, 0),)
    url: str = "http://head:8265"
    asks_for_token: bool = False
    jobs: dict[str, Job] = field(default_factory=dict)  # those that run, by their marks
    stopped: list[str] = field(default_factory=list)
    readings: int = 0
    answers: int = 0

    def submit(self, job: Job) -> None:
        self.jobs[job.mark] = job

    def running(self, mark: str) -> str | None:
        return self.jobs[mark].id if mark in self.jobs else None

    def state(self, job_id: str) -> JobState:
        state = self.states[min(self.answers, len(self.states) - 1)]
        self.answers += 1
        if state is None:
            raise ConnectionLostError("refused")
        return state

    def stop(self, job_id: str) -> None:
        self.stopped.append(job_id)

    async def log(self, job_id: str) -> AsyncGenerator[str, None]:
        pieces = self.logs[min(self.readings, len(self.logs) - 1)]
        self.readings += 1
        for piece in pieces:
            if piece == LOST:
                raise ConnectionLostError("broken pipe")
            if piece == SILENCE:
                await asyncio.sleep(60)
            yield piece
            await asyncio.sleep(0)  # here Ctrl-C comes in, as while a real log is waited for


def _is_one(fake: FakeCluster) -> Cluster:
    """For the type checker: the fake is a cluster."""
    return fake
