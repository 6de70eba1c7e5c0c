"""The controller with real stages of a tiny model, run in this process."""

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.execution.launcher import Finished, InProcessLauncher
from orchestrator.execution.run_stage import StageTask
from orchestrator.grid.schema import load_grid
from orchestrator.stages.resolve import Resolved, resolve
from orchestrator.stages.stage_specs import StageKind
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import (
    controller_of,
    drive,
    result_files,
)
from tests.tiny_grid import tiny_grid


class Counting(InProcessLauncher):
    """Notes what it starts."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: Counter[StageKind] = Counter()

    def start(self, task: StageTask) -> None:
        self.kinds.update(each.spec.kind for each in (task, *task.then))
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
    """2 ratios x 2 lambda_1 x 1 lambda_2; then a larger ratio.

    The rankings go on, and what is there is not touched.
    """

    def make_grid(*ratios: float) -> Resolved:
        return resolve(
            load_grid(tiny_grid(tmp_path, tiny_llama, text_file, ratios=list(ratios))),
            hardware="cpu",
        )

    first = Counting()
    view = drive(controller_of(make_grid(0.2, 0.5), first))
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
    for ranking in view.rankings:
        assert len(ranking.rounds) == 3
        assert {len(record.gate_steps) for record in ranking.rounds} == {2}
    store = str(tmp_path / "store")
    before = result_files(store)
    second = Counting()
    deeper = drive(controller_of(make_grid(0.2, 0.5, 0.66), second))
    after = result_files(store)
    assert before.items() <= after.items()
    assert second.kinds[StageKind.RANKING] == 2
    assert StageKind.DENSE not in second.kinds
    added = {Path(path).name for path in after.keys() - before.keys() if "rounds" in path}
    assert added == {"003.json"}
    assert [ranking.order[:3] for ranking in deeper.rankings] == [
        ranking.order for ranking in view.rankings
    ]
