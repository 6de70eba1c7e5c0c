"""What the controller decides on knows how long stages take; nothing is read for it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.scheduler.growth import NodeDemand
from orchestrator.scheduler.policy import Decision, Facts
from orchestrator.stages.stage_specs import StageKind
from tests.orchestrator.fake_launcher import Clock, FakeLauncher, controller_of, drive, resolved


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> list[Facts]:
    """The facts that were decided on, as they come."""
    seen: list[Facts] = []

    def follow(demand: NodeDemand, facts: Facts, decisions: Sequence[Decision]) -> None:
        seen.append(facts)

    monkeypatch.setattr(NodeDemand, "follow", follow)
    return seen


def test_every_stage_that_is_decided_about_has_its_seconds(
    tmp_path: Path, decided: list[Facts]
) -> None:
    drive(controller_of(resolved(tmp_path), FakeLauncher()))
    assert {need.kind for facts in decided for need in facts.needs} > {StageKind.TRANSFER}
    for facts in decided:
        assert all(0 < facts.seconds[need.key] <= facts.after[need.key] for need in facts.needs)


def test_what_runs_has_seconds_that_go_by(tmp_path: Path, decided: list[Facts]) -> None:
    clock = Clock()
    launcher = FakeLauncher(slots=1, holds=True)
    controller = controller_of(resolved(tmp_path), launcher, clock)
    controller.step()
    clock.now = 1.0
    launcher.cluster = launcher.cluster.__class__(cpus=2)  # for something to be decided
    controller.step()
    (running,) = decided[-1].running.items()
    assert running[1].ends_in_s is not None
    assert 0 < running[1].ends_in_s <= decided[0].seconds[running[0]]


def test_time_that_goes_by_is_no_reason_to_decide_again(
    tmp_path: Path, decided: list[Facts]
) -> None:
    clock = Clock()
    controller = controller_of(resolved(tmp_path), FakeLauncher(slots=1, holds=True), clock)
    for now in range(5):
        clock.now = float(now)
        controller.step()
    assert len(decided) == 2
