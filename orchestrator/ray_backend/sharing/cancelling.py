"""How attempts are ended before their time: by force, or at the turn of one of their stages."""

import time
from collections.abc import Collection, Iterable

import ray

from orchestrator.ray_backend.sharing.submitted import Submitted

# How long a cancelled gang may take to end its ranks, before it is ended by force and its place may
# be lost to us; and how long when we go: with the job, Ray takes back everything.
GANG_GRACE_S = 60.0
STOP_LIMIT_S = 10.0


def cancel(attempt: Submitted, key: str) -> None:
    """End one stage of an attempt: by force, except for a gang.

    A gang ends its ranks first: nobody else would give back their place. A stage whose turn in its
    process is to come ends the process when that comes.
    """
    if attempt.task.layout.ranks > 1:
        if attempt.force_at is None:
            attempt.force_at = time.monotonic() + GANG_GRACE_S
            ray.cancel(attempt.reference, recursive=False)
    elif key == attempt.task.spec.key or key in attempt.begun.computed:
        ray.cancel(attempt.reference, force=True)
    else:
        attempt.ends_at.add(key)


def end_due(attempts: Iterable[Submitted]) -> None:
    """End by force, once, the cancelled gangs whose time is over, and what is at its last turn."""
    now = time.monotonic()
    for attempt in attempts:
        if attempt.ends_now or (attempt.force_at is not None and now > attempt.force_at):
            attempt.ends_at.clear()
            attempt.force_at = attempt.force_at and float("inf")
            ray.cancel(attempt.reference, force=True)


def cancel_all(attempts: Collection[Submitted], *, waits: bool) -> None:
    """Cancel all attempts; ``waits``: for gangs to end their ranks.

    On a cluster that outlives us that is for us to do. One of ours goes as a whole.
    """
    for attempt in attempts:
        cancel(attempt, attempt.task.spec.key)
    gangs = [each.reference for each in attempts if each.task.layout.ranks > 1]
    if gangs and waits:
        ray.wait(gangs, num_returns=len(gangs), timeout=STOP_LIMIT_S)
