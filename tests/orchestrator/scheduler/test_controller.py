"""The controller over a store: to the end, over failures, beside other drivers, after being killed. Stages are made up here,
except in the last tests, which run real ones in this process.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.execution.launcher import Finished, InProcessLauncher
from orchestrator.execution.run_stage import StageTask
from orchestrator.grid.schema import load_grid
from orchestrator.scheduler.controller import RENEW_CLAIMS_S
from orchestrator.stages.resolve import Resolved, resolve
from orchestrator.stages.stage_specs import StageKind, ranking_spec
from orchestrator.store.claims import Claim
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store
from orchestrator.views.build import build_view
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import (
    MAX_STEPS,
    Clock,
    FakeLauncher,
    controller_of,
    drive,
    resolved,
)
from tests.tiny_grid import tiny_grid
from trsp.records import RoundRecord

BUG = Failure("KeyError", "'layers'", FailureKind.UNKNOWN)
USERS_OWN = Failure("CalibrationTooShortError", "text 'wiki' is too short", FailureKind.BAD_INPUT)


def result_files(store: str) -> dict[str, int]:
    """Everything that stands for finished work, with the time at which it was written."""
    found = [
        *Path(store).glob("stages/*/*/result.json"),
        *Path(store).glob("stages/*/*/rounds/*.json"),
    ]
    return {str(path): path.stat().st_mtime_ns for path in found}


# --- to the end ---------------------------------------------------------------------------------------------------------


def test_a_grid_comes_to_its_end_and_shares_what_can_be_shared(tmp_path: Path) -> None:
    launcher, asked = FakeLauncher(), resolved(tmp_path)
    view = drive(controller_of(asked, launcher))
    assert {part.status for part in view.parts} == {Status.DONE}
    assert {rank.status for rank in view.rankings} == {Status.DONE}
    # 4 cells; both lambda_1 choose the same two layers at ratio 0.2, so three checkpoints; three shapes are measured
    three = {StageKind.TRANSFER: 3, StageKind.PRUNE: 3, StageKind.EVALUATE: 3, StageKind.MEASURE: 3}
    assert Counter(launcher.started_kinds()) == {StageKind.RANKING: 2, StageKind.DENSE: 1} | three
    assert {
        task.spec.depth for task in launcher.started if task.spec.kind is StageKind.RANKING
    } == {5}
    shared = [cell for cell in view.cells if cell.cell.ratio == 0.2]
    assert shared[0].checkpoint_uri == shared[1].checkpoint_uri
    assert shared[0].ranking_key != shared[1].ranking_key


def test_views_hold_what_the_store_holds(tmp_path: Path) -> None:
    view = drive(controller_of(resolved(tmp_path), FakeLauncher()))
    cell = next(c for c in view.cells if c.cell.ratio == 0.5 and c.cell.gate_l1 == 1e-3)
    assert cell.layers == (8, 7, 6, 5, 4)  # first removed first
    assert cell.metrics()["perplexity/wiki"] == 20
    assert set(cell.stage_keys) == {"rank", "transfer", "prune", "evaluate", "measure"}
    assert cell.transfer is not None
    assert cell.checkpoint_uri is not None
    assert (Path(cell.checkpoint_uri) / "config.json").is_file()
    (rank,) = (rank for rank in view.rankings if rank.key == cell.ranking_key)
    assert rank.order == (8, 7, 6, 5, 4)
    assert len(rank.cells) == 2
    assert view.dense[0].evaluation is not None
    assert view.dense[0].measurement is not None


def test_looking_without_a_driver_gives_the_same(tmp_path: Path) -> None:
    asked = resolved(tmp_path)
    view = drive(controller_of(asked, FakeLauncher()))
    assert build_view(asked, StoreResults(Store(asked.grid.storage.store))) == view


def test_a_second_controller_starts_nothing(tmp_path: Path) -> None:
    drive(controller_of(resolved(tmp_path), FakeLauncher()))
    again = FakeLauncher()
    assert drive(controller_of(resolved(tmp_path), again)).status is Status.DONE
    assert again.started == []


def test_a_larger_ratio_goes_on_with_the_ranking(tmp_path: Path) -> None:
    drive(controller_of(resolved(tmp_path), FakeLauncher()))
    more = FakeLauncher()
    drive(controller_of(resolved(tmp_path, ratios=[0.2, 0.5, 0.7]), more))
    assert Counter(more.started_kinds()) == {
        StageKind.RANKING: 2,
        StageKind.TRANSFER: 2,
        StageKind.PRUNE: 2,
        StageKind.EVALUATE: 2,
        StageKind.MEASURE: 1,
    }


def test_a_deeper_need_of_a_running_ranking_is_met_by_starting_it_again(tmp_path: Path) -> None:
    """A ranking that another driver began for a smaller ratio: what is published stays, the rest is added."""
    asked = resolved(tmp_path)
    shallow = resolved(tmp_path, ratios=[0.2])
    drive(controller_of(shallow, FakeLauncher()))
    key = ranking_spec(asked.cells[0], asked.study).key
    view = controller_of(asked, FakeLauncher()).view()
    assert {c.status for c in view.cells if c.cell.ratio == 0.2} == {Status.DONE}
    waiting = next(c for c in view.cells if c.ranking_key == key and c.cell.ratio == 0.5)
    assert (waiting.status, waiting.stage, waiting.reason) == (
        Status.WAITING,
        "rank",
        "round 2 of 5",
    )


def test_a_cell_goes_on_while_the_ranking_for_a_larger_ratio_runs(tmp_path: Path) -> None:
    asked = resolved(tmp_path, gate_l1=1e-3)
    launcher = FakeLauncher(holds=True)
    controller = controller_of(asked, launcher)
    controller.step()
    assert StageKind.RANKING in launcher.started_kinds()
    ranking = next(
        task.spec.key for task in launcher.started if task.spec.kind is StageKind.RANKING
    )
    for number in range(2):  # as the running ranking would
        Store(asked.grid.storage.store).rankings.publish(
            ranking, RoundRecord(round=number, layer=number)
        )
    view = controller.step()
    assert StageKind.TRANSFER in launcher.started_kinds()
    assert {c.cell.ratio: c.stage for c in view.cells} == {0.2: "transfer", 0.5: "rank"}
    assert {c.status for c in view.cells} == {Status.RUNNING}


def test_no_more_at_once_than_the_grid_allows(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=4, holds=True)
    controller_of(resolved(tmp_path, resources={"max_parallel": 2}), launcher).step()
    assert len(launcher.started) == 2


def test_weights_of_stage_two_are_dropped_once_the_checkpoint_is_whole(tmp_path: Path) -> None:
    asked = resolved(tmp_path)
    view = drive(controller_of(asked, FakeLauncher()))
    store = Store(asked.grid.storage.store)
    for cell in view.cells:
        assert store.stages.files_uri(cell.stage_keys["transfer"]) is None
        assert cell.transfer is not None  # its record stays


def test_weights_of_stage_two_are_kept_where_the_grid_says_so(tmp_path: Path) -> None:
    storage = {"store": str(tmp_path / "store"), "keep_transfer_weights": True}
    asked = resolved(tmp_path, storage=storage)
    view = drive(controller_of(asked, FakeLauncher()))
    assert all(
        Store(asked.grid.storage.store).stages.files_uri(cell.stage_keys["transfer"])
        for cell in view.cells
    )


# --- failures -----------------------------------------------------------------------------------------------------------


def test_a_failure_is_tried_again_and_forgotten_when_it_works(tmp_path: Path) -> None:
    launcher = FakeLauncher(fail=[(StageKind.PRUNE, BUG)])
    view = drive(controller_of(resolved(tmp_path), launcher))
    assert view.status is Status.DONE
    assert Counter(launcher.started_kinds())[StageKind.PRUNE] == 4


def test_after_the_last_attempt_only_the_cells_that_need_the_stage_fail(tmp_path: Path) -> None:
    asked = resolved(tmp_path, resources={"max_attempts": 3, "max_parallel": 1}, gate_l1=1e-3)
    launcher = FakeLauncher(fail=[(StageKind.TRANSFER, BUG)] * 3)
    view = drive(controller_of(asked, launcher))
    attempts = Counter(launcher.started_keys())
    failed = [cell for cell in view.cells if cell.status is Status.FAILED]
    assert len(failed) == 1
    assert (failed[0].stage, failed[0].reason) == ("transfer", "KeyError: 'layers'")
    assert attempts[failed[0].stage_keys["transfer"]] == 3
    assert {part.status for part in view.parts if part is not failed[0]} == {Status.DONE}
    assert view.status is Status.FAILED
    assert view.reason == "1 of 3 failed"
    assert (
        build_view(asked, StoreResults(Store(asked.grid.storage.store))).cells == view.cells
    )  # and says so when nobody is at work


def test_a_failed_ranking_fails_its_cells_and_no_others(tmp_path: Path) -> None:
    asked = resolved(tmp_path, resources={"max_parallel": 1})
    launcher = FakeLauncher(fail=[(StageKind.RANKING, BUG)] * 2)
    view = drive(controller_of(asked, launcher))
    by_rank = {rank.key: rank.status for rank in view.rankings}
    assert sorted(by_rank.values()) == [Status.DONE, Status.FAILED]
    assert all(cell.status is by_rank[cell.ranking_key] for cell in view.cells)


def test_an_error_of_the_users_is_not_tried_again(tmp_path: Path) -> None:
    launcher = FakeLauncher(fail=[(StageKind.DENSE, USERS_OWN)])
    view = drive(controller_of(resolved(tmp_path), launcher))
    assert Counter(launcher.started_kinds())[StageKind.DENSE] == 1
    assert view.dense[0].status is Status.FAILED
    assert "too short" in view.dense[0].reason
    assert {cell.status for cell in view.cells} == {Status.DONE}


def test_running_again_gives_what_failed_new_attempts(tmp_path: Path) -> None:
    drive(controller_of(resolved(tmp_path), FakeLauncher(fail=[(StageKind.DENSE, USERS_OWN)])))
    again = FakeLauncher()
    assert drive(controller_of(resolved(tmp_path), again)).status is Status.DONE
    assert again.started_kinds() == [StageKind.DENSE, StageKind.MEASURE]


def test_a_stage_that_ends_without_a_result_has_failed(tmp_path: Path) -> None:
    launcher = FakeLauncher()
    launcher.loses = {StageKind.EVALUATE}
    view = drive(controller_of(resolved(tmp_path, resources={"max_attempts": 2}), launcher))
    assert Counter(launcher.started_kinds())[StageKind.EVALUATE] == 2 * 3
    assert {cell.reason.partition(":")[0] for cell in view.cells} == {"LostResult"}


def test_a_stage_that_takes_too_long_is_cancelled_and_tried_again(tmp_path: Path) -> None:
    clock, launcher = Clock(), FakeLauncher(holds=True)
    asked = resolved(
        tmp_path,
        resources={"timeout_s": 100, "max_parallel": 1, "max_attempts": 2},
        ratios=[0.2],
        gate_l1=1e-3,
    )
    controller = controller_of(asked, launcher, clock)
    controller.step()
    clock.now = 99
    controller.step()
    assert launcher.cancelled == []
    clock.now = 101
    controller.step()
    controller.step()
    assert launcher.cancelled == launcher.started_keys()[:1]
    assert launcher.started_keys()[0] == launcher.started_keys()[1], "the second attempt"
    clock.now = 202
    for _ in range(3):
        view = controller.step()
    assert view.cells[0].status is Status.FAILED
    assert view.cells[0].reason == "Timeout: ran longer than 100 s"
    recorded = Store(asked.grid.storage.store).failures.history(launcher.started_keys()[0])
    assert [failure.error for failure in recorded] == ["Timeout", "Timeout"], (
        "a cancelled process cannot do it itself"
    )


# --- beside and after other drivers ---------------------------------------------------------------------------------------


def test_two_drivers_at_once_do_nothing_twice(tmp_path: Path) -> None:
    launchers = [FakeLauncher(slots=1), FakeLauncher(slots=1)]
    drivers = [controller_of(resolved(tmp_path), launcher) for launcher in launchers]
    for _ in range(MAX_STEPS):
        views = [driver.step() for driver in drivers]
        if all(view.status is Status.DONE for view in views):
            break
    assert [view.status for view in views] == [Status.DONE] * 2
    done = Counter(key for launcher in launchers for key in launcher.started_keys())
    assert set(done.values()) == {1}
    assert all(launcher.started for launcher in launchers), "and both take part"


def test_what_another_driver_works_on_says_who(tmp_path: Path) -> None:
    busy = controller_of(resolved(tmp_path), FakeLauncher(holds=True))
    busy.step()
    view = controller_of(resolved(tmp_path), FakeLauncher()).step()
    assert {cell.status for cell in view.cells} == {Status.WAITING}
    assert all("another driver (process " in cell.reason for cell in view.cells)


def test_after_a_kill_the_next_driver_does_the_rest(tmp_path: Path) -> None:
    """No stop(), no release: the claims of the dead stay behind, and so do the files of what it was about."""
    asked, killed = resolved(tmp_path), FakeLauncher(slots=2)
    controller = controller_of(asked, killed)
    for _ in range(3):
        controller.step()
    killed.holds = True
    controller.step()
    store = Store(asked.grid.storage.store)
    finished = result_files(store.uri)
    claims = list(Path(store.uri).rglob("claim.json"))
    assert finished
    assert claims
    for path in claims:
        held = json.loads(path.read_text())
        path.write_text(json.dumps(held | {"process_start": "1"}))  # its process is gone
        (path.parent / "files-halfway").mkdir()
    heir = FakeLauncher()
    assert drive(controller_of(asked, heir)).status is Status.DONE
    assert not set(heir.started_keys()) & {
        Path(path).parent.name for path in finished if path.endswith("result.json")
    }
    assert {path.parent.name for path in claims} <= set(heir.started_keys())
    assert list(Path(store.uri).rglob("files-halfway")) == []
    assert list(Path(store.uri).rglob("claim.json")) == []


def test_claims_are_renewed_while_stages_run(tmp_path: Path) -> None:
    clock, launcher, asked = Clock(), FakeLauncher(slots=1, holds=True), resolved(tmp_path)
    controller = controller_of(asked, launcher, clock)
    controller.step()
    store, key = Store(asked.grid.storage.store), launcher.started_keys()[0]
    before = store.claims.holder(key)
    clock.now += RENEW_CLAIMS_S
    controller.step()
    after = store.claims.holder(key)
    assert isinstance(before, Claim)
    assert isinstance(after, Claim)
    assert after.owner == before.owner
    assert after.renewed > before.renewed


def test_a_stopped_grid_is_killed_with_a_reason_and_gives_its_claims_back(tmp_path: Path) -> None:
    asked, launcher = resolved(tmp_path), FakeLauncher()
    controller = controller_of(asked, launcher)
    while not any(cell.status is Status.DONE for cell in controller.step().cells):
        pass
    launcher.holds = True
    before = controller.view()
    controller.stop("stopped by SIGTERM")
    view = controller.view()
    assert launcher.stopped
    assert (view.status, view.reason) == (Status.KILLED, "stopped by SIGTERM")
    for then, now in zip(before.parts, view.parts, strict=True):
        assert now.status is (Status.DONE if then.status is Status.DONE else Status.KILLED)
        assert now.status is Status.DONE or now.reason == "stopped by SIGTERM"
    assert list(Path(asked.grid.storage.store).rglob("claim.json")) == []


def test_a_grid_stopped_at_once_has_only_killed_parts(tmp_path: Path) -> None:
    controller = controller_of(resolved(tmp_path), FakeLauncher(holds=True))
    controller.step()
    controller.stop("stopped by SIGINT")
    view = controller.view()
    assert {part.status for part in (*view.parts, *view.rankings)} == {Status.KILLED}


# --- real stages, in this process -------------------------------------------------------------------------------------------


class Counting(InProcessLauncher):
    """Notes what it starts."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: Counter[StageKind] = Counter()

    def start(self, task: StageTask) -> None:
        self.kinds[task.spec.kind] += 1
        super().start(task)

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        finished = super().poll(wait_s)
        failures = [one.failure for one in finished if one.failure]
        assert not failures, failures[0].details
        return finished


@pytest.mark.slow
def test_real_stages_to_the_end_and_deeper_later(
    tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    """2 ratios x 2 lambda_1 x 1 lambda_2; then a larger ratio: the ranking goes on, and what is there is not touched."""

    def asked(*ratios: float) -> Resolved:
        return resolve(
            load_grid(tiny_grid(tmp_path, tiny_llama, text_file, ratios=list(ratios))),
            hardware="cpu",
        )

    first = Counting()
    view = drive(controller_of(asked(0.2, 0.5), first))
    assert {part.status for part in view.parts} == {Status.DONE}
    assert first.kinds[StageKind.RANKING] == 2
    assert first.kinds[StageKind.MEASURE] == 3
    checkpoints = {cell.checkpoint_uri for cell in view.cells}
    assert (
        first.kinds[StageKind.TRANSFER]
        == first.kinds[StageKind.PRUNE]
        == first.kinds[StageKind.EVALUATE]
        == len(checkpoints)
    )
    for rank in view.rankings:
        assert len(rank.rounds) == 3
        assert {len(record.gate_steps) for record in rank.rounds} == {2}
    store = str(tmp_path / "store")
    before = result_files(store)
    second = Counting()
    deeper = drive(controller_of(asked(0.2, 0.5, 0.66), second))
    after = result_files(store)
    assert before.items() <= after.items()
    assert second.kinds[StageKind.RANKING] == 2
    assert StageKind.DENSE not in second.kinds
    added = {Path(path).name for path in after.keys() - before.keys() if "rounds" in path}
    assert added == {"003.json"}
    assert [rank.order[:3] for rank in deeper.rankings] == [rank.order for rank in view.rankings]
