"""The estimate of how long a grid has still to go."""

from dataclasses import replace

from orchestrator.report.standing.time_left import TimeLeft
from orchestrator.stages.stage_specs import StageKind
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator import sample_views
from tests.orchestrator.report.standing.clock import Clock
from trsp.records import RoundRecord


def staged(done: list[dict[str, float]]) -> GridView:
    """The sample's cells, each through the stages given with their seconds.

    What is missing of prune, evaluate and measure is left to do.
    """
    cells = []
    for number, (cell, seconds) in enumerate(zip(sample_views.cells(), done, strict=False)):
        own = (StageKind.PRUNE, StageKind.EVALUATE)
        keys = {str(kind): f"{kind}-{number}" for kind in own} | {"measure": "measure-shared"}
        status = Status.DONE if len(seconds) == 3 else Status.WAITING
        view = sample_views.waiting(cell)
        cells.append(replace(view, status=status, layers=(1,), stage_keys=keys, seconds=seconds))
    return GridView("grid-1", "sample", tuple(cells), (), ())


def test_time_left_is_what_is_left_at_the_pace_of_this_driver() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    before, after = {"prune": 2.0}, {"prune": 2.0, "evaluate": 20.0}
    assert left.seconds(staged([before, before])) is None, "this driver has done nothing yet"
    clock.now = 40
    assert left.seconds(staged([after, before])) is None, "no measurement was seen yet"
    # 25 s of work in 50 s; the measurement is shared. Left: 20 s of evaluation, at that pace 40 s.
    clock.now = 50
    both_measured = staged([after | {"measure": 5.0}, before | {"measure": 5.0}])
    assert left.seconds(both_measured) == 40
    clock.now = 500
    assert left.seconds(both_measured) == 400
    assert left.seconds(staged([after | {"measure": 5.0}] * 2)) is None, "nothing is left"


def test_time_left_counts_rounds_of_rankings() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    ranking = replace(sample_views.ranking_view("gates", 0.1, 0, Status.RUNNING, ()), depth=4)
    rounds = tuple(RoundRecord(round=i, layer=i, seconds=10.0) for i in range(2))
    unranked = GridView("grid-1", "sample", (), (replace(ranking, rounds=()),), ())
    half_ranked = GridView("grid-1", "sample", (), (replace(ranking, rounds=rounds),), ())
    assert left.seconds(unranked) is None
    clock.now = 20
    assert left.seconds(half_ranked) == 20
