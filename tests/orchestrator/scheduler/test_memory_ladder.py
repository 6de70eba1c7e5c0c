"""What the controller does about stages that are out of memory: another rung of the ladder."""

from dataclasses import replace
from pathlib import Path

from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import (
    FakeLauncher,
    controller_of,
    drive,
    failed_stages,
    one_cell,
    resolved,
)

OUT_OF_MEMORY = Failure("OutOfMemoryError", "2 GiB wanted", FailureKind.OUT_OF_MEMORY)
MICRO_4 = {"micro_batch": 4, "zero_stage": 2}
SETTINGS = {"name": "drift", "blocks_per_step": 4}


def rungs(launcher: FakeLauncher, kind: StageKind) -> list[tuple[int, bool]]:
    """Micro-batch and activation checkpointing of every attempt at this kind of stage."""
    engines = [task.layout.engine for task in launcher.tasks(kind)]
    return [(engine.micro_batch, engine.activation_checkpointing) for engine in engines]


def test_out_of_memory_climbs_the_ladder_and_is_not_counted(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=1, fail=[(StageKind.TRANSFER, OUT_OF_MEMORY)] * 3)
    grid = one_cell(tmp_path, engine=MICRO_4, transfer=SETTINGS, resources={"max_attempts": 1})
    assert drive(controller_of(grid, launcher)).status is Status.DONE
    assert rungs(launcher, StageKind.TRANSFER) == [(4, False), (2, False), (1, False), (1, True)]


def test_the_end_of_the_ladder_is_counted_and_then_only_that_cell_fails(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=1, fail=[(StageKind.TRANSFER, OUT_OF_MEMORY)] * 3)
    grid = resolved(tmp_path, gate_l1=1e-3, resources={"max_attempts": 2}, transfer=SETTINGS)
    view = drive(controller_of(grid, launcher))
    assert rungs(launcher, StageKind.TRANSFER)[:3] == [(1, False), (1, True), (1, True)]
    assert failed_stages(view) == [("transfer", "OutOfMemoryError: 2 GiB wanted")]


def test_what_was_learned_is_used_for_the_next_cells_and_by_the_next_driver(tmp_path: Path) -> None:
    changes = {"engine": MICRO_4, "transfer": SETTINGS, "gate_l1": 1e-3}
    launcher = FakeLauncher(slots=1, fail=[(StageKind.TRANSFER, OUT_OF_MEMORY)] * 2)
    drive(controller_of(resolved(tmp_path, **changes), launcher))
    assert rungs(launcher, StageKind.TRANSFER) == [
        (4, False),
        (2, False),
        (1, False),
        (1, False),
    ], "the second cell's is the last"
    assert rungs(launcher, StageKind.RANKING) == [(4, False)], "a ranking needs something else"
    again = FakeLauncher(slots=1)
    drive(controller_of(resolved(tmp_path, **changes | {"drift": 1e-2}), again))
    assert set(rungs(again, StageKind.TRANSFER)) == {(1, False)}


def test_other_settings_or_other_hardware_begin_afresh(tmp_path: Path) -> None:
    changes = {"engine": MICRO_4, "transfer": SETTINGS, "gate_l1": 1e-3, "ratios": [0.2]}
    drive(
        controller_of(
            resolved(tmp_path, **changes),
            FakeLauncher(fail=[(StageKind.TRANSFER, OUT_OF_MEMORY)] * 2),
        )
    )
    other = FakeLauncher(slots=1)
    drive(
        controller_of(
            resolved(tmp_path, **changes | {"drift": 1e-2, "engine": {"micro_batch": 3}}), other
        )
    )
    assert rungs(other, StageKind.TRANSFER) == [(3, False)]
    grid = resolved(tmp_path, **changes | {"drift": 2e-2})
    other = FakeLauncher(slots=1)
    drive(controller_of(replace(grid, study=replace(grid.study, hardware="H100")), other))
    assert rungs(other, StageKind.TRANSFER) == [(4, False)]


def test_two_that_fail_side_by_side_climb_one_rung(tmp_path: Path) -> None:
    """Both began on the first rung; the second to fail takes the rung that the first came to."""
    grid = resolved(
        tmp_path, engine=MICRO_4, transfer=SETTINGS, gate_l1=1e-3, drift=[1e-3, 1e-2], ratios=[0.2]
    )
    launcher = FakeLauncher(slots=4, fail=[(StageKind.TRANSFER, OUT_OF_MEMORY)] * 2)
    drive(controller_of(grid, launcher))
    assert rungs(launcher, StageKind.TRANSFER) == [(4, False), (4, False), (2, False), (2, False)]
