"""What a store says of when its stages ran, and what is made of it."""

import os
from pathlib import Path

import pytest

from benchmarks.stage_spans import Span, spans_of
from benchmarks.stage_timeline import draw, rows_of
from benchmarks.where_seconds_go import critical_path, most_at_once, report, table, used_share
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.stages.timings import Phase, StageTimings
from orchestrator.store.claims import Ticket
from orchestrator.store.store import Store
from trsp.records import RoundRecord

PRUNE = StageSpec(StageKind.PRUNE, {"layers": [1]})
RANKING = StageSpec(StageKind.RANKING, {"model": "m"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def span(
    key: str,
    begin: float,
    end: float,
    kind: StageKind = StageKind.EVALUATE,
    reads: tuple[str, ...] = (),
    rounds: tuple[float, ...] = (),
) -> Span:
    return Span(kind, key, begin, end, reads=reads, rounds=rounds)


def names(path: list[tuple[Span, str]]) -> list[str]:
    return [span.key for span, _ in path]


def test_a_result_with_times_is_read_as_it_ran(store: Store) -> None:
    times = StageTimings(10, 12, 20, {Phase.START: 2.0, Phase.LOAD: 8.0}, "a", "node-1", 7, 1, 4)
    record = {"seconds": 6.0}
    store.stages.commit(Ticket(PRUNE.key, 0, "a"), PRUNE, record, None, {}, lambda: times)
    (found,) = spans_of(store.uri)
    assert (found.kind, found.begin, found.end) == (StageKind.PRUNE, 10, 20)
    assert (found.node, found.cpus, found.recorded_s) == ("node-1", 4, 6)
    assert found.seconds == {"start": 2, "load": 8}


def test_a_ranking_is_one_span_per_attempt_that_published(store: Store) -> None:
    for number, (attempt, began, ended) in enumerate([("a", 1, 5), ("a", 1, 9), ("b", 20, 25)]):
        times = StageTimings(began, began, ended, {Phase.COMPUTE: ended - began}, attempt)
        record = RoundRecord(round=number, layer=number)
        store.rankings.publish(Ticket(RANKING.key, 0, attempt), record, lambda times=times: times)
    first, second = spans_of(store.uri)
    assert (first.begin, first.end, first.rounds) == (1, 9, (5, 9))
    assert (second.begin, second.end, second.rounds) == (20, 25, (25,))


def at(path: Path, when: float) -> None:
    os.utime(path, (when, when))


def test_of_a_result_without_times_the_claims_say_when_it_ran(store: Store) -> None:
    """Another claim came later, of a driver that dropped the artifacts."""
    ticket = store.claims.take(PRUNE.key, "me", "a")
    assert isinstance(ticket, Ticket)
    store.stages.commit(ticket, PRUNE, {"seconds": 3.0})
    store.claims.release(ticket)
    later = store.claims.take(PRUNE.key, "me", "b")
    assert isinstance(later, Ticket)
    store.claims.release(later)
    claims = Path(store.stages.uri(PRUNE.key), "claims")
    for number, path in enumerate(sorted(claims.iterdir())):
        at(path, 100.0 + 10 * number)
    (found,) = spans_of(store.uri)
    assert (found.begin, found.end, found.recorded_s) == (100, 110, 3)
    assert found.seconds == {}


def test_a_stage_that_nobody_claimed_and_timed_is_left_out(store: Store) -> None:
    store.stages.commit(Ticket(PRUNE.key, 0, "a"), PRUNE, {"seconds": 3.0})
    assert spans_of(store.uri) == []


def test_the_end_waited_for_what_each_stage_read() -> None:
    chain = [span("a", 0, 10), span("b", 10.1, 30, reads=("a",)), span("c", 30.1, 35, reads=("b",))]
    beside = span("x", 0, 29)
    path = critical_path([*chain, beside])
    assert names(path) == ["a", "b", "c"]
    assert path[1][1] == "reads what this left 0.1 s later"


def test_a_stage_that_waited_for_room_waited_for_what_ended_last() -> None:
    path = critical_path([span("a", 0, 10), span("b", 0, 12), span("c", 12.5, 20, reads=("a",))])
    assert names(path) == ["b", "c"]
    assert path[1][1] == "had its room 0.5 s later"


def test_a_ranking_that_goes_on_lets_stages_begin_by_its_rounds() -> None:
    ranking = span("r", 0, 100, StageKind.RANKING, rounds=(40, 100))
    path = critical_path([ranking, span("p", 41, 120)])
    assert names(path) == ["r", "p"]
    assert path[1][1] == "a round of it was published"


def test_the_share_of_the_machine_counts_what_each_stage_had() -> None:
    spans = [span("a", 0, 10), span("b", 0, 5)]
    assert most_at_once(spans) == 2
    assert used_share(spans, 2) == 0.75


def test_spans_that_overlap_lie_in_rows_of_their_own() -> None:
    rows = rows_of([span("a", 0, 10), span("b", 5, 15), span("c", 10, 20)])
    assert [[each.key for each in row] for row in rows] == [["a", "c"], ["b"]]


def test_the_table_has_medians_of_what_was_kept_and_the_rest_beside() -> None:
    timed = Span(StageKind.PRUNE, "p", 0, 8, seconds={"load": 3.0, "compute": 5.0})
    old = Span(StageKind.DENSE, "d", 0, 40, recorded_s=31.0)
    lines = list(table([timed, old]))
    (prune,) = (line.split() for line in lines if line.startswith("prune"))
    assert prune == ["prune", "1", "0.0", "0.0", "3.0", "5.0", "0.0", "0.0", "8.0", "8.0"]
    assert lines[-1].endswith("work 31.0 s, all else 9.0 s")


def test_a_picture_of_all_of_it_is_written(tmp_path: Path) -> None:
    spans = [
        span("r", 0, 100, StageKind.RANKING, rounds=(40,)),
        Span(StageKind.PRUNE, "p", 41, 60, seconds={"start": 4.0, "commit": 2.0}),
    ]
    assert any("What the end waited for, 100 s in all" in line for line in report(spans, 2))
    draw(spans, str(tmp_path / "out.png"), spans[:1], "a grid")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
