"""The longest path behind each stage that a grid needs, as a driver's results come in."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.expected import paths
from orchestrator.scheduler.expected.effort import Effort
from orchestrator.scheduler.expected.paths import Expectations, Expected
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind, StageSpec, cell_stages, ranking_spec
from orchestrator.stages.timings import Phase, StageTimings
from orchestrator.store.claims import Ticket
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store
from orchestrator.views.parts import GridParts
from tests.orchestrator.fake_launcher import one_cell, resolved, store_of
from trsp.records import RoundRecord, TransferRecord

ORDER = (8, 7, 6, 5, 4)
ONE_CPU = Layout()
LONG = {"text": {"name": "wiki", "path": "wiki.jsonl"}, "blocks": 5000, "block_tokens": 2048}


class Looked:
    """A grid's parts and expectations over its store."""

    def __init__(self, grid: Resolved) -> None:
        self.grid, self.results = grid, StoreResults(store_of(grid))
        self.parts = GridParts(grid, self.results)
        self.expectations = Expectations(self.parts)

    def __call__(self, layout: Layout = ONE_CPU) -> Expected:
        self.parts.update()
        return self.expectations.given({spec.key: layout for spec in self.parts.needs})

    def needs(self, kind: StageKind) -> list[StageSpec]:
        return list({each.key: each for each in self.parts.needs if each.kind is kind}.values())

    def stages(self, index: int = 0) -> dict[StageKind, StageSpec]:
        cell = self.grid.cells[index]
        stages = cell_stages(cell, self.grid.study, ORDER[: cell.removed])
        return {stage.kind: stage for stage in stages}


def rank(grid: Resolved, spec: StageSpec, rounds: int, seconds: float = 1.0) -> None:
    for number in range(len(store_of(grid).rankings.rounds(spec.key)), rounds):
        record = RoundRecord(round=number, layer=ORDER[number], seconds=seconds)
        store_of(grid).rankings.publish(Ticket(spec.key, 0, "x"), record)


def finish_transfer(
    grid: Resolved, spec: StageSpec, seconds: float, times: StageTimings | None = None
) -> None:
    store, ticket = Store(grid.grid.storage.store), Ticket(spec.key, 0, "x")
    record = TransferRecord(layers=(8, 7), seconds=seconds).model_dump(mode="json")
    with store.stages.staging(ticket) as folder:
        store.stages.commit(ticket, spec, record, folder, {}, (lambda: times) if times else None)


def finish_dense(grid: Resolved, spec: StageSpec) -> None:
    size = dict.fromkeys(("layers", "params", "size_bytes", "kv_bytes_per_token"), 1)
    checkpoint, evaluation = {**size, "removed_layers": []}, {"scores": {}}
    record = {"checkpoint": checkpoint, "evaluation": evaluation}
    store_of(grid).stages.commit(Ticket(spec.key, 0, "x"), spec, record)


@pytest.fixture
def cell(tmp_path: Path) -> Looked:
    return Looked(one_cell(tmp_path, measurement={"protocol": "small"}))


def test_all_that_a_cell_still_needs_hangs_on_its_ranking(cell: Looked) -> None:
    expected = cell()
    (ranking,) = cell.needs(StageKind.RANKING)
    rank(cell.grid, ranking, ranking.depth)
    cell.results.forget(ranking.key)
    later = cell()
    (transfer,) = cell.needs(StageKind.TRANSFER)
    assert expected.after[ranking.key] > expected.seconds[ranking.key] > 0
    assert expected.after[ranking.key] > later.after[transfer.key] > later.seconds[transfer.key]


def test_a_stage_that_is_done_no_longer_counts(cell: Looked) -> None:
    cell()
    (ranking,) = cell.needs(StageKind.RANKING)
    rank(cell.grid, ranking, ranking.depth)
    cell.results.forget(ranking.key)
    before = cell()
    (transfer,) = cell.needs(StageKind.TRANSFER)
    finish_transfer(cell.grid, transfer, seconds=0.0)
    cell.results.forget(transfer.key)
    after = cell()
    (prune,) = cell.needs(StageKind.PRUNE)
    left_s = before.after[transfer.key] - before.seconds[transfer.key]
    assert after.after[prune.key] == pytest.approx(left_s)
    assert transfer.key not in after.after


def test_of_several_that_need_a_ranking_the_longest_path_counts(tmp_path: Path) -> None:
    """The seconds are those of all rounds; more layers take longer to rank and less to score."""
    grids = [
        one_cell(tmp_path / "a", ratios=[0.2]),
        one_cell(tmp_path / "b", ratios=[0.5]),
        one_cell(tmp_path / "c", ratios=[0.2, 0.5]),
    ]
    looked = [(each := Looked(grid))() and each for grid in grids]
    (shallow,), (deep,), both = (each.needs(StageKind.RANKING) for each in looked)
    key = both[0].key
    short, long, together = (each() for each in looked)
    assert short.seconds[key] < long.seconds[key] == together.seconds[key]
    assert together.after[key] == max(short.after[key], long.after[key])
    assert short.after[key] != long.after[key]
    assert shallow.key == deep.key == key


def test_rounds_that_are_published_are_no_longer_to_be_done(cell: Looked) -> None:
    before = cell()
    (ranking,) = cell.needs(StageKind.RANKING)
    whole_s = before.seconds[ranking.key]
    rank(cell.grid, ranking, 1, seconds=0.0)
    cell.results.look_at_rankings([ranking.key])
    assert cell().seconds[ranking.key] < whole_s


def test_what_rounds_took_is_expected_of_those_to_come(tmp_path: Path) -> None:
    cell = Looked(one_cell(tmp_path, ratios=[0.3]))
    cell()
    (ranking,) = cell.needs(StageKind.RANKING)
    rank(cell.grid, ranking, 1, seconds=1000.0)
    cell.results.look_at_rankings([ranking.key])
    assert 1500 < cell().seconds[ranking.key] < 2100, "two more rounds, each with a layer less"


def test_what_a_stage_took_is_expected_of_the_next_one_like_it(tmp_path: Path) -> None:
    """By its work, without the wait for its place and its imports, which others do not share."""
    grid = one_cell(tmp_path, drift=[1e-3, 1e-2])
    looked = Looked(grid)
    looked()
    (ranking,) = looked.needs(StageKind.RANKING)
    rank(grid, ranking, ranking.depth)
    looked.results.forget(ranking.key)
    looked()
    first, second = looked.needs(StageKind.TRANSFER)
    seconds: dict[str, float] = {Phase.START: 9000, Phase.IMPORTS: 500, Phase.COMPUTE: 40}
    finish_transfer(grid, first, 30.0, StageTimings(0, 1, 2, seconds))
    looked.results.forget(first.key)
    assert looked().seconds[second.key] == pytest.approx(40, abs=3)


def test_a_result_of_before_times_were_kept_counts_by_its_record(tmp_path: Path) -> None:
    grid = one_cell(tmp_path, drift=[1e-3, 1e-2])
    looked = Looked(grid)
    ranking = ranking_spec(grid.cells[0], grid.study)
    rank(grid, ranking, ranking.depth)
    transfer = looked.stages()[StageKind.TRANSFER]
    finish_transfer(grid, transfer, 70.0)
    (second,) = (looked(), looked.needs(StageKind.TRANSFER))[1]
    assert looked().seconds[second.key] == pytest.approx(70, abs=3)


def test_what_ran_on_two_devices_is_twice_the_work(tmp_path: Path) -> None:
    grid = one_cell(tmp_path, drift=[1e-3, 1e-2], calibration=LONG)
    looked = Looked(grid)
    ranking = ranking_spec(grid.cells[0], grid.study)
    rank(grid, ranking, ranking.depth)
    times = StageTimings(0, 1, 2, {Phase.COMPUTE: 100.0}, ranks=2, gpus=2.0)
    finish_transfer(grid, looked.stages()[StageKind.TRANSFER], 30.0, times)
    expected = looked(Layout(gpus=1))
    (second,) = looked.needs(StageKind.TRANSFER)
    assert expected.seconds[second.key] == pytest.approx(200, abs=5)


def test_nothing_hangs_on_a_measurement(cell: Looked) -> None:
    """Nor on scores where speed is not measured."""
    expected = cell()
    (dense,) = cell.needs(StageKind.DENSE)
    finish_dense(cell.grid, dense)
    cell.results.forget(dense.key)
    after = cell()
    (measure,) = cell.needs(StageKind.MEASURE)
    assert after.after[measure.key] == after.seconds[measure.key]
    assert dense.key in expected.after


def test_the_speed_of_the_unpruned_model_hangs_on_its_scores(cell: Looked) -> None:
    expected = cell()
    (dense,) = cell.needs(StageKind.DENSE)
    assert expected.after[dense.key] > expected.seconds[dense.key]


def test_where_nothing_has_changed_it_is_the_same_object(cell: Looked) -> None:
    """Facts with it are then equal at once, and nothing is decided again."""
    assert cell() is cell()


def test_every_stage_that_is_needed_has_its_seconds(tmp_path: Path) -> None:
    looked = Looked(resolved(tmp_path))
    expected = looked()
    keys = {spec.key for spec in looked.parts.needs}
    assert expected.seconds.keys() == expected.after.keys() == keys
    assert all(0 < expected.seconds[key] <= expected.after[key] for key in keys)


# --- what a step costs ---------------------------------------------------------


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[StageKind]:
    """The kinds of the stages whose effort is estimated, as they come."""
    seen: list[StageKind] = []
    estimate = paths.effort_of

    def noted(spec: StageSpec, *rest: Any) -> Effort:
        seen.append(spec.kind)
        return estimate(spec, *rest)

    monkeypatch.setattr(paths, "effort_of", noted)
    return seen


def test_a_result_has_its_own_effort_estimated_and_no_other(
    tmp_path: Path, looks: list[StageKind]
) -> None:
    """However many rankings wait; each was estimated anew, to the depth of each of its cells."""
    many = [step / 1000 for step in range(1, 13)]
    looked = Looked(resolved(tmp_path, gate_l1=many, drift=[1e-3, 1e-2]))
    looked()
    first, *others = looked.needs(StageKind.RANKING)
    assert len(others) > 10
    rank(looked.grid, first, first.depth)
    looked.results.forget(first.key)
    looked()
    transfer = looked.needs(StageKind.TRANSFER)[0]
    looks.clear()
    finish_transfer(looked.grid, transfer, seconds=5.0)
    looked.results.forget(transfer.key)
    looked()
    assert Counter(looks)[StageKind.TRANSFER] == 1
    assert StageKind.RANKING not in looks


def test_a_round_has_the_effort_of_its_own_ranking_estimated(
    tmp_path: Path, looks: list[StageKind]
) -> None:
    """What it took, and what is left to each of the depths that its cells need."""
    looked = Looked(resolved(tmp_path, gate_l1=[step / 1000 for step in range(1, 13)]))
    looked()
    first = looked.needs(StageKind.RANKING)[0]
    depths = {cell.removed for cell in looked.grid.cells}
    rank(looked.grid, first, 1)
    looks.clear()
    looked.results.look_at_rankings([first.key])
    looked()
    assert 0 < Counter(looks)[StageKind.RANKING] <= 1 + len(depths)


def test_what_is_kept_is_what_all_results_together_would_give(tmp_path: Path) -> None:
    """After each of many results it is equal to the expectations of one that has just come."""
    grid = resolved(tmp_path, gate_l1=[1e-3, 2e-3], drift=[1e-3, 1e-2])
    looked = Looked(grid)
    for number, kind in enumerate([StageKind.RANKING, StageKind.TRANSFER] * 2):
        looked()
        spec = looked.needs(kind)[0]
        if kind is StageKind.RANKING:
            rank(grid, spec, spec.depth, seconds=7.0)
        else:
            finish_transfer(grid, spec, 10.0 + number)
        looked.results.forget(spec.key)
    assert looked().after == pytest.approx(Looked(grid)().after)


def test_weights_that_are_to_be_made_again_count_though_a_record_of_them_is_there(
    tmp_path: Path,
) -> None:
    """They were dropped, and then the checkpoint was deleted by hand."""
    looked = Looked(one_cell(tmp_path))
    ranking = ranking_spec(looked.grid.cells[0], looked.grid.study)
    rank(looked.grid, ranking, ranking.depth)
    before = looked()
    transfer = looked.stages()[StageKind.TRANSFER]
    finish_transfer(looked.grid, transfer, 0.0)  # of which nothing is learned
    store_of(looked.grid).stages.drop_files(transfer.key)
    looked.results.forget(transfer.key)
    after = looked()
    (need,) = looked.needs(StageKind.TRANSFER)
    assert need.key == transfer.key
    assert after.after[need.key] == before.after[need.key]
