"""From how the store, the tracking server and the grid's sources answer to findings. Pure."""

from collections.abc import Iterator, Mapping

from orchestrator.doctor.findings.facts import SourceState, StoreUse, TrackingUse
from orchestrator.doctor.findings.finding import Finding, fine, named, warning, wrong
from orchestrator.doctor.findings.nodes import DRIVER

SLOW_S = 2.0  # for one small operation: a run makes thousands
STORE_CURE = "give a folder or bucket that every node can write to as storage.store"
_FAILED_CURES: Mapping[str, str] = {
    "open": STORE_CURE,
    "claim": "two drivers could own the same stage: give a file system, or an object store with "
    "conditional writes (If-None-Match), as storage.store",
    "list": "the file system shows new files late: mount it without attribute caching, "
    "or give an object store as storage.store",
}


def store(uri: str, uses: Mapping[str, StoreUse]) -> Iterator[Finding]:
    """Yield what is wrong with the store from each place, and one finding of those that are well.

    ``uses``: by place, the driver's among them. ``uri``: for people.
    """
    driver_writes = not uses[DRIVER].failed if DRIVER in uses else False
    well = {}
    for place, use in uses.items():
        found = _store_problem(uri, place, use, driver_writes)
        if found:
            yield found
        else:
            well[place] = use
    if not well:
        return
    slowest = _slowest(use.seconds for use in well.values())
    where, seen = named(list(well)), f"{uri}: {_latencies(slowest)}"
    if max(slowest.values()) > SLOW_S:
        cure = "use a store nearer to the cluster (same region or network)"
        yield warning("store", where, seen, cure)
    else:
        yield fine("store", where, seen)


def _store_problem(uri: str, place: str, use: StoreUse, driver_writes: bool) -> Finding | None:
    """Return what is wrong with the store as one place sees it, or None."""
    if use.failed:
        seen = f"{uri}: {use.failed} failed: {use.error}"
        return wrong("store", place, seen, _FAILED_CURES.get(use.failed, _writable_cure(place)))
    if driver_writes and not use.sees_driver:
        return wrong(
            "store",
            place,
            f"{uri} is another folder there: what the driver writes is not seen",
            f"mount the same file system at that path on {place}, or give s3://bucket/prefix or "
            "gs://bucket/prefix as storage.store",
        )
    if not use.is_exclusive:
        seen = f"{uri}: of two that create one file, both do"
        return wrong("store", place, seen, _FAILED_CURES["claim"])
    return None


def _writable_cure(place: str) -> str:
    return (
        f"let the user that runs there write to it (permissions, quota, credentials on {place}), "
        f"or {STORE_CURE}"
    )


def _slowest(timings: Iterator[Mapping[str, float]]) -> dict[str, float]:
    """Return the longest time of each operation, in seconds."""
    slowest: dict[str, float] = {}
    for seconds in timings:
        for operation, value in seconds.items():
            slowest[operation] = max(value, slowest.get(operation, 0.0))
    return slowest


def _latencies(seconds: Mapping[str, float]) -> str:
    """Return times for people: ``read 3 ms, write 12 ms``."""
    return ", ".join(f"{name} {_ms(value)} ms" for name, value in seconds.items())


def _ms(seconds: float) -> str:
    """Return milliseconds for people: whole ones, or tenths where they are few."""
    return f"{1000 * seconds:.1f}" if seconds < 0.01 else f"{1000 * seconds:,.0f}"


def tracking(uri: str, use: TrackingUse) -> Finding:
    """Return how the tracking server answered."""
    seen = f"{uri}: {_latencies(use.seconds)}"
    # A first connection loads libraries and may lay tables out.
    if max(value for name, value in use.seconds.items() if name != "connect") > SLOW_S:
        cure = "use a server nearer to the driver, with a database that is not SQLite"
        return warning("tracking", DRIVER, seen, cure)
    return fine("tracking", DRIVER, seen)


def sources(found: Mapping[str, tuple[SourceState, ...]]) -> Iterator[Finding]:
    """Yield, for each model and text of the grid, where it is missing or differs.

    ``found``: what each place found, by place and in the same order, the driver first.
    """
    for states in zip(*found.values(), strict=True):
        by_place = dict(zip(found, states, strict=True))
        yield from _source(by_place)


def _source(by_place: Mapping[str, SourceState]) -> Iterator[Finding]:
    """Yield the findings of one source."""
    first = next(iter(by_place.values()))
    missing = {place: state for place, state in by_place.items() if state.error}
    there = {place: state for place, state in by_place.items() if not state.error}
    for place, state in missing.items():
        yield _missing_local(place, state) if state.is_local else _no_hub(place, state)
    if not there:
        return
    contents: dict[str, list[str]] = {}
    for place, state in there.items():
        contents.setdefault(state.content, []).append(place)
    expected, *others = sorted(contents.items(), key=lambda each: DRIVER not in each[1])
    size = f"{first.size_bytes / 1e3:,.0f} kB" if first.is_local else f"commit {expected[0][:8]}"
    yield fine("sources", named(expected[1]), f"{first.name}: {size}")
    for content, places in others:
        yield wrong(
            "sources",
            named(places),
            f"{first.name}: other content ({content[:8]}) than on {named(expected[1])}",
            "copy it there again, or set a revision that is a commit",
        )


def _missing_local(place: str, state: SourceState) -> Finding:
    cure = f"put it on a file system that all nodes mount, or copy it to the same path on {place}"
    return wrong("sources", place, f"{state.name}: {state.error}", cure)


def _no_hub(place: str, state: SourceState) -> Finding:
    """Return the finding of a source that the hub did not give, with the cure that a run names.

    On a node, what was downloaded before may do; the driver must be told what a branch means.
    """
    seen, _, cure = f"{state.error}".partition("; ")
    if state.is_cached and place != DRIVER:
        kept = "none needed while the cache is kept and the branch does not move"
        return warning("sources", place, f"{seen}; a downloaded copy is there", kept)
    return wrong("sources", place, seen, cure)
