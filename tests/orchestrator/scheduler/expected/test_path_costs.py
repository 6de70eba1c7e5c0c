"""What the expectations of a step cost: efforts that are estimated, counted."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.scheduler.expected import paths
from orchestrator.scheduler.expected.effort import Effort
from orchestrator.stages.stage_specs import StageKind, StageSpec
from tests.orchestrator.fake_launcher import resolved
from tests.orchestrator.scheduler.expected.test_paths import Looked, finish_transfer, rank


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
