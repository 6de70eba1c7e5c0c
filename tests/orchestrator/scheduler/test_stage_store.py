"""What a driver does in the store about a stage: what comes of a claim, and who then holds it."""

import json
from pathlib import Path

import pytest

from orchestrator.execution.run_stage import StageTask
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler import holdings, stage_store
from orchestrator.scheduler.attempt import Progress
from orchestrator.scheduler.stage_store import (
    AlreadySatisfied,
    Claimed,
    ClaimedElsewhere,
    ClaimFailed,
    StageStore,
)
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.claims import Claims, Standing, Ticket
from orchestrator.store.failure_log import FailureLog
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.rankings import Rankings
from orchestrator.store.results import StoreResults
from orchestrator.store.stage_results import StageResults
from orchestrator.store.store import Store
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import (
    FakeLauncher,
    controller_of,
    drive,
    failed_stages,
    finish,
    one_cell,
    store_of,
)
from tests.orchestrator.store.sample_stage import holder, unclaimed
from trsp.records import RoundRecord

SPEC = StageSpec(StageKind.PRUNE, {"layers": [1]})
RANKING = StageSpec(StageKind.RANKING, {"gate_l1": 1e-3}, depth=2)


def stages_of(store: Store) -> StageStore:
    return StageStore(store, StoreResults(store), keep_transfer_weights=False)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_claimed_stage_says_how_far_it_has_come(store: Store) -> None:
    store.rankings.publish(unclaimed(RANKING.key), RoundRecord(round=0, layer=8))
    outcome = stages_of(store).claim(RANKING)
    assert isinstance(outcome, Claimed)
    assert outcome.progress == Progress(rounds=1, steps=0)
    assert holder(store, RANKING.key) is not None


def test_a_stage_that_another_driver_holds_says_who(store: Store) -> None:
    stages_of(store).claim(SPEC)
    outcome = stages_of(store).claim(SPEC)
    assert isinstance(outcome, ClaimedElsewhere)
    assert outcome.holder.startswith("another driver (process ")


def test_a_stage_that_was_finished_in_the_meantime_is_released(store: Store) -> None:
    finish(StageTask(RANKING, store.uri, Layout()))
    assert stages_of(store).claim(RANKING) == AlreadySatisfied()
    assert holder(store, RANKING.key) is None


@pytest.mark.parametrize(
    ("part", "call"),
    [
        (StageResults, "contents"),
        (StageResults, "remove_orphans"),
        (StageResults, "stored"),
        (Rankings, "published"),
    ],
)
def test_an_error_after_the_claim_was_taken_releases_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, part: type, call: str
) -> None:
    store.stages.write_spec(SPEC)  # of an attempt before
    monkeypatch.setattr(part, call, full)
    outcome = stages_of(store).claim(SPEC)
    assert isinstance(outcome, ClaimFailed)
    assert outcome.failure.kind is FailureKind.DISK_FULL
    assert holder(store, SPEC.key) is None


def test_an_error_of_the_claim_itself_leaves_that_of_others_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages_of(store).claim(SPEC)
    held = holder(store, SPEC.key)
    monkeypatch.setattr(Claims, "take", full)
    assert isinstance(stages_of(store).claim(SPEC), ClaimFailed)
    assert holder(store, SPEC.key) == held


def test_a_grid_whose_claims_cannot_be_used_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = one_cell(tmp_path, resources={"max_attempts": 2})
    for call in ("contents", "remove_orphans"):  # of a first claim, and of later ones
        monkeypatch.setattr(StageResults, call, full)
    launcher = FakeLauncher()
    view = drive(controller_of(grid, launcher))
    assert view.status is Status.FAILED
    assert {reason for _, reason in failed_stages(view)} == {
        "OSError: [Errno 28] No space left on device"
    }
    assert launcher.started == []
    for log in Path(store_of(grid).uri).rglob("claims"):
        assert json.loads(max(log.iterdir()).read_text())["kind"] == "release"


def test_rounds_that_another_node_wrote_are_looked_for_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS shows them once something was changed in their folder from here."""
    looked: list[str] = []
    monkeypatch.setattr(stage_store, "LATE_ROUNDS_S", (0.0, 0.0))

    def appear(stages: StageResults, key: str) -> None:
        looked.append(key)
        finish(StageTask(RANKING, store.uri, Layout()))

    monkeypatch.setattr(StageResults, "look_afresh", appear)
    assert stages_of(store).missing_result(RANKING) is None
    assert looked == [RANKING.key]


def test_rounds_that_do_not_come_are_a_lost_result(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_store, "LATE_ROUNDS_S", (0.0, 0.0))
    failure = stages_of(store).missing_result(RANKING)
    assert failure is not None
    assert (failure.error, failure.kind) == ("LostResult", FailureKind.LOST)


def test_a_claim_that_the_store_does_not_take_back_is_given_back_later(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdings, "OWED_RETRY_S", 0.0)
    stages = stages_of(store)
    assert isinstance(stages.claim(SPEC), Claimed)
    with monkeypatch.context() as away:
        away.setattr(Claims, "release", full)
        assert stages.holdings.release(SPEC.key) is Standing.HELD
        stages.holdings.tend()
    assert holder(store, SPEC.key) is not None
    stages.holdings.tend()
    assert holder(store, SPEC.key) is None


def test_files_of_a_stage_that_another_driver_works_on_are_not_dropped(store: Store) -> None:
    weights = StageSpec(StageKind.TRANSFER, {"layers": [1]})
    finish(StageTask(weights, store.uri, Layout()))
    pruned = StageSpec(StageKind.PRUNE, {"layers": [1]}, reads=(weights.key,))
    taken = store.claims.take(weights.key, "another")
    stages_of(store).drop_transfer_weights(pruned)
    assert store.stages.has_files(weights.key)
    assert isinstance(taken, Ticket)
    store.claims.release(taken)
    stages_of(store).drop_transfer_weights(pruned)
    assert not store.stages.has_files(weights.key)
    assert holder(store, weights.key) is None


def test_a_failure_that_the_stage_recorded_itself_is_not_recorded_again(store: Store) -> None:
    failure = Failure("KeyError", "'x'", when=1.0)
    stages_of(store).record_failure(SPEC.key, failure)
    stages_of(store).record_failure(SPEC.key, failure)
    stages_of(store).record_failure(SPEC.key, Failure("KeyError", "'x'", when=2.0))
    assert [each.when for each in store.failures.history(SPEC.key)] == [1.0, 2.0]


def test_a_store_that_is_full_does_not_keep_a_failure_from_being_handled(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FailureLog, "record", full)
    stages_of(store).record_failure(SPEC.key, Failure("KeyError", "'x'"))
