"""From a grid to its cells: every combination once.

It is collapsed where an axis says nothing, and refused where it cannot be.
"""

from collections import Counter
from typing import Any

import pytest

from orchestrator.grid.cells import Cell
from orchestrator.grid.expand import Expansion, expand
from tests.orchestrator.sample_grids import expanded, grid, model
from trsp.errors import InvalidInputError


def methods(found: Expansion) -> Counter[tuple[str, str]]:
    return Counter((cell.selector.name, cell.transfer.name) for cell in found.cells)


def test_the_product_of_all_axes() -> None:
    found = expanded(
        models=["a/x", "b/y"],
        ratios=[0.2, 0.4],
        gate_l1=[1e-3, 1e-2],
        drift=[0, 0.1, 1],
        seeds=[0, 1],
    )
    assert len({cell.key for cell in found.cells}) == len(found.cells) == 2 * 2 * 2 * 3 * 2
    assert not found.refusals
    assert not found.notes


def test_axes_without_use_collapse() -> None:
    found = expanded(
        selectors=["gates", "block_influence"],
        transfer=["drift", "none"],
        gate_l1=[1e-3, 1e-2],
        drift=[0, 0.1, 1],
    )
    assert methods(found) == {
        ("gates", "drift"): 6,
        ("gates", "none"): 2,
        ("block_influence", "drift"): 3,
        ("block_influence", "none"): 1,
    }
    assert {cell.gate_l1 for cell in found.cells if cell.selector.name == "block_influence"} == {
        None
    }
    assert {cell.drift for cell in found.cells if cell.transfer.name == "none"} == {None}
    assert not found.notes


def test_a_seed_counts_only_where_something_is_random() -> None:
    assert [
        cell.seed for cell in expanded(selectors="reverse", transfer="none", seeds=[3, 4]).cells
    ] == [0]
    assert [
        cell.seed for cell in expanded(selectors="reverse", transfer="heal", seeds=[3, 4]).cells
    ] == [3, 4]
    assert [
        cell.seed for cell in expanded(selectors="random", transfer="none", seeds=[3, 4]).cells
    ] == [3, 4]


def test_ratios_that_remove_equally_many_layers_are_one_cell() -> None:
    found = expanded(ratios=[0.2, 0.21, 0.4])
    assert [(cell.ratio, cell.removed) for cell in found.cells] == [(0.2, 2), (0.4, 4)]
    assert found.notes == (
        "m: ratios 0.2 and 0.21 both remove 2 of 10 layers: their equal cells are one, under 0.2",
    )


def test_two_names_for_one_content() -> None:
    found = grid(models=["a/x", "b/y"])
    same = {"x": model("x"), "y": model("x")}
    assert len(expand(found, same).cells) == 1


def test_zipped_axes_move_together() -> None:
    found = expanded(
        zip=[["ratios", "drift"]], ratios=[0.2, 0.4], drift=[1e-3, 1e-2], gate_l1=[1, 2]
    )
    assert {(cell.ratio, cell.drift) for cell in found.cells} == {(0.2, 1e-3), (0.4, 1e-2)}
    assert len(found.cells) == 4


def test_models_zip_too() -> None:
    found = expanded(models=["a/x", "b/y"], ratios=[0.2, 0.4], zip=[["models", "ratios"]])
    assert [(cell.model.name, cell.ratio) for cell in found.cells] == [("x", 0.2), ("y", 0.4)]


def test_exclude_leaves_out_what_matches_all_it_names() -> None:
    found = expanded(
        selectors=["gates", {"name": "gates", "preset": "paper"}, "sleb"],
        ratios=[0.2, "1/3", 0.4],
        exclude=[
            {"selectors": {"name": "gates", "preset": "paper"}, "ratios": ["1/3", 0.4]},
            {"selectors": "sleb"},
        ],
    )
    kept = [(getattr(cell.selector, "preset", None), round(cell.ratio, 2)) for cell in found.cells]
    assert kept == [("default", 0.2), ("default", 0.33), ("default", 0.4), ("paper", 0.2)]
    assert not found.notes


def test_a_bare_name_excludes_every_variant() -> None:
    found = expanded(
        selectors=["gates", {"name": "gates", "preset": "paper"}, "sleb"],
        exclude=[{"selectors": "gates"}],
    )
    assert {cell.selector.name for cell in found.cells} == {"sleb"}


def test_an_exclude_that_matches_nothing_is_told() -> None:
    found = expanded(ratios=[0.2], exclude=[{"ratios": 0.3}])
    assert found.notes == ("exclude[0] matches no combination of the axes; it leaves nothing out",)


def test_include_adds_and_takes_the_grids_values_for_the_rest() -> None:
    found = expanded(
        models=["a/x", "b/y"],
        ratios=[0.2, 0.4],
        zip=[["models", "ratios"]],
        include=[
            {"selectors": ["sleb", "reverse"], "transfer": "none"},
            {"models": "b/y", "ratios": 0.5},
            {"ratios": 0.2, "models": "x"},  # there already
        ],
    )
    pairs = {(cell.model.name, cell.ratio) for cell in found.cells if cell.selector.name == "sleb"}
    assert pairs == {("x", 0.2), ("y", 0.4)}
    assert methods(found) == {("gates", "drift"): 3, ("sleb", "none"): 2, ("reverse", "none"): 2}
    assert ("y", 0.5) in {(cell.model.name, cell.ratio) for cell in found.cells}


def test_what_is_included_is_not_excluded() -> None:
    found = expanded(
        selectors=["gates", "sleb"],
        exclude=[{"selectors": "sleb"}],
        include=[{"selectors": "sleb", "ratios": 0.3}],
    )
    assert [cell.ratio for cell in found.cells if cell.selector.name == "sleb"] == [0.3]


@pytest.mark.parametrize(
    ("ratio", "selector", "reason"),
    [
        (
            0.01,
            "gates",
            "ratio 0.01 removes none of the 30 layers of m; raise it to 0.0333 or more",
        ),
        (
            0.99,
            "gates",
            "ratio 0.99 removes all 30 layers of m and leaves none; lower it to 0.967 or less",
        ),
        (
            0.9,
            {"name": "gates", "protect_first": 3, "protect_last": 4},
            "ratio 0.9 removes 27 of 30 layers of m, but gates(protect_first=3,protect_last=4) "
            "protects 7 and only 23 may go; lower it, or protect fewer",
        ),
        (
            0.5,
            {"name": "gates", "protect_first": 40},
            "ratio 0.5 removes 15 of 30 layers of m, but gates(protect_first=40) "
            "protects 40 and only 0 may go; lower it, or protect fewer",
        ),
    ],
)
def test_refusals(ratio: float, selector: Any, reason: str) -> None:
    found = expanded(
        layers=30, ratios=[0.2, ratio], selectors=selector, seeds=[0, 1], exclude=[{"ratios": 0.2}]
    )
    assert [refusal.reason for refusal in found.refusals] == [reason]  # once, whatever the seeds
    assert not found.cells
    with pytest.raises(InvalidInputError, match=r"^jobs/x\.yaml: ratio"):
        found.require("jobs/x.yaml")


def test_adapters_beside_weights_on_nvme_are_refused_and_the_cure_is_named() -> None:
    engine = {"zero_stage": 3, "offload_weights": "nvme", "nvme_path": "/local"}
    lora = {"name": "drift", "lora": {"rank": 4}}
    found = expanded(engine=engine, transfer=["drift", "none", lora])
    assert {cell.transfer.name for cell in found.cells} == {"drift", "none"}
    (refusal,) = found.refusals
    assert "lora with offload_weights: nvme" in refusal.reason
    assert "set engine.offload_weights to cpu or none" in refusal.reason
    assert not expanded(engine={**engine, "offload_weights": "cpu"}, transfer=lora).refusals
    assert not expanded(transfer=lora).refusals


@pytest.mark.parametrize("layers", range(2, 81))
def test_the_bounds_that_refusals_name_are_true(layers: int) -> None:
    bounds = [
        found.refusals[0].reason
        for ratio in (1e-6, 1 - 1e-6)
        if (found := expanded(layers, ratios=ratio))
    ]
    smallest = float(bounds[0].split("raise it to ")[1].split()[0])
    largest = float(bounds[1].split("lower it to ")[1].split()[0])
    found = expanded(layers, ratios=[smallest, largest])
    assert {cell.removed for cell in found.cells} == {1, layers - 1}


def test_models_of_which_nothing_is_known_are_counted() -> None:
    found = grid(
        models=["a/x", "b/y"], ratios=[0.2, 0.21], transfer=["none", "drift"], drift=[1, 2]
    )
    only_x = expand(found, {"x": model("x")})
    assert only_x.unresolved == {"y": 6}
    assert {cell.model.name for cell in only_x.cells} == {"x"}


def test_the_order_is_the_files() -> None:
    def facts(cell: Cell) -> tuple[str, float]:
        return cell.selector.name, cell.ratio

    found = expanded(selectors=["sleb", "gates"], ratios=[0.4, 0.2])
    assert [facts(cell) for cell in found.cells] == [
        ("sleb", 0.4),
        ("sleb", 0.2),
        ("gates", 0.4),
        ("gates", 0.2),
    ]
