"""``trsp cancel`` and ``trsp retry`` as text for people: what was asked, and who does it."""

from collections.abc import Iterator

from orchestrator.kept_grids.asking import ANSWER_S, Asked


def cancelled_lines(asked: Asked, grid: str) -> Iterator[str]:
    """Yield what comes of a wish to stop."""
    yield f"asked to stop: {_what(asked, grid)}"
    yield from _drivers(asked, "stops it" if not asked.cells else "leaves it out")
    yield "what is done stays; trsp run goes on with the rest, and trsp retry wants a cell again"


def retried_lines(asked: Asked, grid: str) -> Iterator[str]:
    """Yield what comes of a wish to try again."""
    count = len(asked.forgotten)
    stages = ", with 1 stage that had failed" if count == 1 else f", with {count} that had failed"
    yield f"to be tried again: {_what(asked, grid)}{stages if count else ''}"
    yield from _drivers(asked, "tries it again")
    if not asked.drivers:
        yield "no driver works on it now: the next trsp run does it"


def _what(asked: Asked, grid: str) -> str:
    return ", ".join(asked.cells) or f"all of grid {grid}"


def _drivers(asked: Asked, does: str) -> Iterator[str]:
    for driver in asked.drivers:
        if driver in asked.obeying:
            yield f"{driver} {does}"
        else:
            yield f"{driver} has not answered within {ANSWER_S:.0f} s; it will when it can"
