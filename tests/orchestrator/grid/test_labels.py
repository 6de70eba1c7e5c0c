"""Labels: what tells the methods and cells of a grid apart."""

from pathlib import Path

import pytest

from orchestrator.grid.labels import method_labels
from orchestrator.grid.schema import load_grid
from orchestrator.stages.resolve import resolve_offline
from tests.orchestrator.sample_grids import expanded
from trsp.config import BlockInfluenceSettings, DriftSettings, GatesSettings, LoraSettings


def test_labels_tell_methods_of_one_name_apart_and_say_no_more() -> None:
    paper = GatesSettings.model_validate({"preset": "paper"})
    assert method_labels([GatesSettings(), BlockInfluenceSettings()]) == [
        "gates",
        "block_influence",
    ]
    assert method_labels([GatesSettings(), paper])[1] == "gates(paper)"
    assert method_labels([DriftSettings(steps=3), DriftSettings(steps=5)]) == [
        "drift(steps=3)",
        "drift(steps=5)",
    ]
    adapters = LoraSettings(rank=4)
    assert method_labels([DriftSettings(), DriftSettings(lora=adapters)]) == [
        "drift",
        "drift(lora(rank=4))",
    ]
    assert method_labels([DriftSettings(), DriftSettings(lora=LoraSettings())])[1] == "drift(lora)"
    published = [DriftSettings(preset="paper", lora=lora) for lora in (None, adapters)]
    assert method_labels([DriftSettings(), *published]) == [
        "drift",
        "drift(paper)",
        "drift(paper,lora(rank=4))",
    ]


def test_what_a_preset_says_itself_is_no_part_of_a_label() -> None:
    assert method_labels([DriftSettings(), DriftSettings(anneal=False)]) == [
        "drift",
        "drift(no anneal)",
    ]


def names(**axes: object) -> list[str]:
    """The names of the cells of a grid with these axes, for a model of 10 layers."""
    return [cell.name for cell in expanded(**axes).cells]


def test_a_name_begins_with_the_ratio_as_it_was_written() -> None:
    assert names(ratios=["1/5", "30%", 0.4, "50.0 %"]) == [
        "1/5 gates",
        "30% gates",
        "0.4 gates",
        "50.0% gates",
    ]


def test_a_name_says_what_differs_and_leaves_out_what_is_alike() -> None:
    assert names(selectors=["gates", "block_influence"], gate_l1=[1e-3, 0.02], drift=0.1) == [
        "0.25 gates l1=1e-3",
        "0.25 gates l1=0.02",
        "0.25 block_influence",
    ]


def test_a_strength_is_told_of_the_methods_that_have_several() -> None:
    both = {"transfer": ["drift", {"name": "drift", "anneal": False}], "drift": 0}
    more = {"transfer": {"name": "drift", "anneal": False}, "drift": [0.1, 1]}
    assert names(**both, include=[more]) == [
        "0.25 gates drift",
        "0.25 gates drift(no anneal) l2=0",
        "0.25 gates drift(no anneal) l2=0.1",
        "0.25 gates drift(no anneal) l2=1",
    ]


def test_seeds_are_told_of_the_methods_that_have_several() -> None:
    reruns = {"selectors": "random", "transfer": "none", "seeds": [0, 1]}
    assert names(include=[reruns]) == [
        "0.25 gates drift",
        "0.25 random none seed=0",
        "0.25 random none seed=1",
    ]


def test_the_model_is_told_last_where_a_grid_has_several() -> None:
    assert names(models=["a/x", "b/y"]) == ["0.25 gates x", "0.25 gates y"]


def test_a_ranking_is_named_without_what_others_than_it_differ_by() -> None:
    found = expanded(
        selectors=["gates", "reverse"],
        gate_l1=[1e-3, 0.01],
        transfer=["heal", "none"],
        seeds=[0, 1],
    )
    assert {cell.ranking_name for cell in found.cells} == {
        "gates l1=1e-3 seed=0",
        "gates l1=1e-3 seed=1",
        "gates l1=0.01 seed=0",
        "gates l1=0.01 seed=1",
        "reverse",
    }


JOBS = Path(__file__).parents[3] / "jobs"


@pytest.mark.parametrize("job", ["demo", "grid", "paper", "70b"])
def test_no_two_cells_of_a_job_have_one_name(job: str) -> None:
    cells = resolve_offline(load_grid(JOBS / f"{job}.yaml")).cells
    assert len({cell.name for cell in cells}) == len(cells)
