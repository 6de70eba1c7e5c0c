"""A stage's log as it grows, from any machine that reaches its store. Knows no cells."""

from collections.abc import Callable, Iterator

from orchestrator.store.logs.stage_logs import attempt_logs, read_log
from orchestrator.store.store import Store

_OVERLAP = 200  # characters by which what was printed is found again in a log that was cut
_LOCAL_S, _REMOTE_S = 0.5, 10.0  # between two looks
_LOOKS_PER_CHECK = 10  # at whether somebody still works on the stage


def follow(store: Store, key: str, rank: int, wait: Callable[[float], None]) -> Iterator[str]:
    """Yield what a rank of a stage prints, as it comes, until nobody works on the stage any more.

    ``wait`` is called with the seconds until the next look. A new attempt is followed, too.
    """
    attempt, printed, looks = "", "", 0
    while True:
        over = looks % _LOOKS_PER_CHECK == 0 and not _is_worked_on(store, key)
        logs = [each for each in attempt_logs(store, key) if rank in each.ranks]
        if logs:
            if logs[-1].attempt != attempt:
                attempt, printed = logs[-1].attempt, ""
            text = read_log(store, key, logs[-1].ranks[rank])
            if new := _added(printed, text):
                printed = text
                yield new
        if over:
            return
        looks += 1
        wait(_LOCAL_S if store.is_local else _REMOTE_S)


def _is_worked_on(store: Store, key: str) -> bool:
    """Whether a living driver holds the stage."""
    return key in store.claims.held_now()


def _added(before: str, now: str) -> str:
    """Return what a text has that it did not have ``before``; its beginning may have been cut."""
    if now.startswith(before):
        return now[len(before) :]
    known = before[-_OVERLAP:]
    place = now.rfind(known)
    return now if place < 0 else now[place + len(known) :]
