"""Where the seconds of a grid's stages went, by its store's records alone.

    python -m benchmarks.where_seconds_go STORE [--figure out.png] [--cpus 2]

Prints, for each kind of stage, the medians of its phases and what all of its kind took together;
then the chain of stages that the grid's end waited for, backwards from the last one, and why each
waited; then how much of the machine's CPUs the stages had. ``--cpus``: how many there are; default:
the most that stages ever had at once. The figure is a timeline: a row per place on a node.
"""

import argparse
from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.stage_spans import Span, spans_of
from benchmarks.stage_timeline import draw
from orchestrator.stages.stage_specs import SCHEDULED
from orchestrator.stages.timings import Phase

_GAP_S = 0.5  # what ended so shortly after another began cannot be what that one waited for


def table(spans: Sequence[Span]) -> Iterator[str]:
    """Yield the lines of the table: seconds, medians per kind of stage."""
    phases = "".join(f"{phase:>9}" for phase in Phase)
    yield f"{'kind':<10}{'number':>7}{phases}{'whole':>9}{'in all':>9}"
    for kind in SCHEDULED:
        some = [span for span in spans if span.kind is kind]
        if not some:
            continue
        known = [span.seconds for span in some if span.seconds]
        cells = "".join(
            f"{median(each.get(phase, 0.0) for each in known):>9.1f}" if known else f"{'':>9}"
            for phase in Phase
        )
        whole = [span.length_s for span in some]
        yield f"{kind:<10}{len(some):>7}{cells}{median(whole):>9.1f}{sum(whole):>9.1f}"
    if any(not span.seconds for span in spans):
        yield "Of the others only the whole is known, and what the record says of the work itself:"
        for kind in SCHEDULED:
            old = [span for span in spans if span.kind is kind and not span.seconds]
            if old:
                work_s = median(span.recorded_s for span in old)
                rest_s = median(span.length_s - span.recorded_s for span in old)
                yield f"{kind:<10}{len(old):>7}  work {work_s:.1f} s, all else {rest_s:.1f} s"


def critical_path(spans: Sequence[Span]) -> list[tuple[Span, str]]:
    """Return what the end of the grid waited for, the first stage first, and why each waited.

    Before each stage comes the one that ended last before it began: one that it reads, or else one
    whose room it took. A ranking that goes on may have published what a stage began with.
    """
    path: list[tuple[Span, str]] = []
    at = max(spans, key=lambda span: span.end, default=None)
    until = float("inf")
    while at is not None:
        before = _before(at, spans, until)
        path.append((at, _why(at, before)))
        until, at = at.begin, before
    return path[::-1]


def _before(span: Span, spans: Sequence[Span], until: float) -> Span | None:
    """Return the stage whose end, or round, came last before this one began."""
    latest, found = float("-inf"), None
    for other in spans:
        ends = [end for end in (other.end, *other.rounds) if end <= span.begin + _GAP_S]
        if other is not span and other.begin < span.begin and ends and max(ends) > latest:
            latest, found = max(ends), other
    return found


def _why(span: Span, before: Span | None) -> str:
    if before is None:
        return "the first"
    gap = f" {span.begin - before.end:.1f} s later" if span.begin > before.end else ""
    if before.key in span.reads:
        return f"reads what this left{gap}"
    if before.rounds and before.end > span.begin + _GAP_S:
        return "a round of it was published"
    return f"had its room{gap}"


def used_share(spans: Sequence[Span], cpus: float) -> float:
    """Return the share of the machine's CPU seconds for which stages had its CPUs."""
    begin, end = min(span.begin for span in spans), max(span.end for span in spans)
    return sum(span.cpus * span.length_s for span in spans) / (cpus * (end - begin))


def most_at_once(spans: Sequence[Span]) -> float:
    """Return the largest number of CPUs that stages had at one time."""
    changes = [(span.begin, span.cpus) for span in spans]
    changes += [(span.end, -span.cpus) for span in spans]
    had, most = 0.0, 0.0
    for _, change in sorted(changes):
        had += change
        most = max(most, had)
    return most


def report(spans: Sequence[Span], cpus: float) -> Iterator[str]:
    """Yield the lines of all that is printed."""
    begin = min(span.begin for span in spans)
    yield from table(spans)
    yield ""
    yield f"What the end waited for, {max(span.end for span in spans) - begin:.0f} s in all:"
    for span, why in critical_path(spans):
        times = f"{span.begin - begin:7.0f} to {span.end - begin:5.0f} s"
        yield f"{times}  {span.kind:<9} {span.length_s:6.1f} s  {span.key[-8:]}  {why}"
    yield ""
    yield f"Stages had {used_share(spans, cpus):.0%} of {cpus:g} CPUs."


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("--figure")
    parser.add_argument("--title", default="")
    parser.add_argument("--cpus", type=float)
    asked = parser.parse_args()
    spans = spans_of(asked.store)
    if not spans:
        raise SystemExit(f"{asked.store} holds no stages of which a time is known")
    print("\n".join(report(spans, asked.cpus or most_at_once(spans))))
    if asked.figure:
        draw(spans, asked.figure, [span for span, _ in critical_path(spans)], asked.title)


if __name__ == "__main__":
    main()
