"""A first grid's file: read back, it is the grid that was wanted, and it works."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.first_grid.compose import FirstGrid, Wanted, first_grid, time_in_words
from orchestrator.first_grid.machine import Machine
from orchestrator.first_grid.writing import checked, write_grid
from orchestrator.grid.schema import Grid
from tests.tiny import write_jsonl
from trsp.errors import InvalidInputError

LAPTOP = Machine(cpus=8, memory_bytes=20 * 10**9)
SERVER = Machine(cpus=64, memory_bytes=10**12, gpu_bytes=(80 * 10**9,) * 4, gpu_name="H100")


@pytest.fixture
def wanted(tiny_llama: Path, text_file: Path) -> Wanted:
    return Wanted(str(tiny_llama), text_file, hours=1e-9)  # the smallest sizes


def made(wanted: Wanted, machine: Machine = LAPTOP) -> tuple[FirstGrid, Grid]:
    found = first_grid(wanted, machine)
    return found, checked(found.content, "grid.yaml").grid


def test_without_budgets_it_has_ratios_that_the_model_can_have(wanted: Wanted) -> None:
    _, grid = made(wanted)
    assert [f"{ratio:.3f}" for ratio in grid.ratios if ratio != "auto"] == ["0.167"]


def test_budgets_stand_in_it_as_they_were_written(wanted: Wanted) -> None:
    limits = (("max_params", "45k"), ("max_bytes", "0.15MB"))
    found, grid = made(replace(wanted, limits=limits))
    assert grid.ratios == ("auto",)
    assert [budget.limits for budget in grid.budgets] == [{"params": 45_000}, {"bytes": 150_000}]
    assert "{max_params: 45k}" in found.content
    assert "takes 2 of 6 layers" in found.content


def test_every_selection_is_trained_by_stage_two_and_by_its_control_alike(wanted: Wanted) -> None:
    _, grid = made(wanted)
    drift, heal, none = grid.transfer
    assert (drift.name, heal.name, none.name) == ("drift", "heal", "none")
    shared = {"steps", "blocks_per_step", "learning_rate"}
    assert drift.model_dump(include=shared) == heal.model_dump(include=shared)


def test_one_text_is_parted_so_that_scores_are_of_what_nobody_has_seen(wanted: Wanted) -> None:
    found, grid = made(wanted)
    scored = grid.evaluation.perplexity[0].text
    assert scored.skip_documents == grid.calibration.text.max_documents
    assert "the scores read the others" in " ".join(found.notes)


def test_a_text_held_out_is_what_scores_are_of(wanted: Wanted, tmp_path: Path) -> None:
    file = tmp_path / "held-out.jsonl"
    write_jsonl(file, *["unseen words " * 100] * 3)
    _, grid = made(replace(wanted, held_out=file))
    assert grid.evaluation.perplexity[0].text.path == str(file)
    assert grid.calibration.text.max_documents is None


def test_a_text_of_one_document_is_said_to_be_seen(wanted: Wanted, tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    write_jsonl(file, "words " * 2000)
    found, grid = made(replace(wanted, text=file))
    assert grid.evaluation.perplexity[0].text.name == "one-seen"
    assert "NOT HELD OUT" in found.content
    assert any("--held-out FILE" in note for note in found.notes)


def test_the_same_file_is_not_held_out(wanted: Wanted) -> None:
    with pytest.raises(InvalidInputError, match="the same file as --text"):
        first_grid(replace(wanted, held_out=wanted.text), LAPTOP)


def test_a_short_text_makes_fewer_blocks_and_not_an_error_later(
    wanted: Wanted, tmp_path: Path
) -> None:
    file = tmp_path / "short.jsonl"
    write_jsonl(file, *["some words " * 200] * 10)
    _, grid = made(replace(wanted, text=file))
    characters = 2200 * (grid.calibration.text.max_documents or 0)
    assert 1 <= grid.calibration.blocks <= characters / grid.calibration.block_tokens


def test_stages_take_no_more_than_the_machine_has(wanted: Wanted) -> None:
    resources = made(wanted)[1].resources
    assert (resources.use_gpus, resources.cpus_per_rank) == (False, 2)
    assert resources.memory == 16 * 10**9


def test_on_gpus_it_is_for_gpus(wanted: Wanted) -> None:
    resources = made(wanted, SERVER)[1].resources
    assert (resources.use_gpus, resources.max_ranks) == (True, 4)
    assert resources.gpu_memory == 80 * 10**9


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("10", "with 1 of 6 layers left it still has"),
        ("1B", "as it is: that makes no cell; give a smaller budget"),
        ("lots", "'lots' is not a quantity"),
    ],
)
def test_budgets_that_make_no_grid_say_why(wanted: Wanted, limit: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        first_grid(replace(wanted, limits=(("max_params", limit),)), LAPTOP)


def test_a_model_that_is_not_there_says_so(wanted: Wanted) -> None:
    with pytest.raises(InvalidInputError, match="does not exist"):
        first_grid(replace(wanted, model="./nowhere"), LAPTOP)


@pytest.mark.parametrize(
    ("hours", "words"),
    [(0.001, "1 minute"), (0.5, "30 minutes"), (1.53, "1.5 hours"), (96, "4 days")],
)
def test_times_are_as_rough_as_they_are_known(hours: float, words: str) -> None:
    assert time_in_words(hours) == words


def test_the_file_can_be_executed(tmp_path: Path) -> None:
    write_grid("x", tmp_path / "grid.yaml")
    assert (tmp_path / "grid.yaml").stat().st_mode & 0o111 == 0o111
    assert [path.name for path in tmp_path.iterdir()] == ["grid.yaml"]


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text("mine")
    with pytest.raises(InvalidInputError, match="--force to replace it"):
        write_grid("new", file)
    assert file.read_text() == "mine"
    write_grid("new", file, force=True)
    assert file.read_text() == "new"


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there is no folder"):
        write_grid("x", tmp_path / "no" / "grid.yaml")
