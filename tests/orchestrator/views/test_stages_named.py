"""Which stages a person means: of a cell, of the unpruned model, or by a key."""

from dataclasses import replace

import pytest

from orchestrator.views.grid_view import CellView, DenseView, GridView, Status
from orchestrator.views.stages_named import current_stage, find_stages
from tests.orchestrator.sample_grids import model, scored
from trsp.errors import InvalidInputError

KEYS = {"rank": "rank-12", "transfer": "transfer-34", "prune": "prune-56"}
DONE = replace(scored(1, 90, 30.0), stage_keys=KEYS)
RUNS = replace(
    scored(2, 90, 30.0),
    stage_keys=KEYS | {"transfer": "transfer-35"},
    status=Status.RUNNING,
    stage="transfer",
)
UNRANKED = CellView(
    scored(3, 90, 30.0).cell, "rank-12", Status.WAITING, "rank", stage_keys={"rank": "rank-12"}
)
DENSE = DenseView(model(), Status.DONE, stage_keys={"dense": "dense-78"})
VIEW = GridView("grid-0", "g", (DONE, RUNS, UNRANKED), (), (DENSE,))


def keys(text: str, kind: str = "") -> list[str]:
    return [stage.key for stage in find_stages(VIEW, text, kind)]


def refusal(text: str, kind: str = "") -> str:
    with pytest.raises(InvalidInputError) as caught:
        find_stages(VIEW, text, kind)
    return str(caught.value)


def test_a_cell_means_all_its_stages_in_their_order() -> None:
    assert keys("seed=1") == ["rank-12", "transfer-34", "prune-56"]


def test_a_kind_means_that_stage_of_the_cell() -> None:
    assert keys("seed=2", "transfer") == ["transfer-35"]


def test_dense_means_the_unpruned_model() -> None:
    assert keys("dense") == ["dense-78"]


def test_the_beginning_of_a_key_means_its_stage() -> None:
    assert keys("transfer-34") == ["transfer-34"]


def test_a_stage_that_cells_share_is_one() -> None:
    assert keys("rank-1") == ["rank-12"]


def test_a_beginning_of_several_keys_is_answered_with_them() -> None:
    assert "transfer-34, transfer-35; give more" in refusal("transfer-3")


def test_a_key_of_another_grid_is_unknown() -> None:
    assert "no stage of this grid" in refusal("rank-9")


def test_an_unknown_kind_is_answered_with_the_nearest() -> None:
    assert "did you mean 'transfer'?" in refusal("seed=1", "transfr")


def test_a_stage_that_is_not_known_yet_is_said_to_be_so() -> None:
    assert "once its layers are chosen" in refusal("seed=3", "prune")


def test_the_stage_that_a_cell_is_in() -> None:
    stage = current_stage(VIEW, "seed=2")
    assert stage is not None
    assert stage.key == "transfer-35"


def test_a_cell_that_is_done_is_in_no_stage() -> None:
    assert current_stage(VIEW, "seed=1") is None
