"""What a grid costs, as it is printed."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from orchestrator.costs.cost import GridCost
from orchestrator.report.cost.tables import cost_line, print_cost
from orchestrator.stages.resolve import resolve_offline
from tests.orchestrator.costs.planned import TWO_CORES, cost, gpus
from tests.orchestrator.sample_grids import grid

TRAINED = {"transfer": {"name": "drift", "steps": 10, "blocks_per_step": 1}, "drift": 0.1}


def printed(found: GridCost, width: int = 200) -> str:
    out = Console(file=StringIO(), width=width)
    print_cost(found, out)
    assert isinstance(out.file, StringIO)
    return out.file.getvalue()


def line(found: GridCost, begin: str) -> str:
    (one,) = [each for each in printed(found).splitlines() if each.startswith(begin)]
    return one


@pytest.fixture
def done() -> GridCost:
    found = cost()
    return replace(found, kinds=tuple(replace(each, left=0) for each in found.kinds))


def test_the_table_fits_80_columns_and_loses_nothing() -> None:
    text = printed(cost(gpus(2), gate_l1=[1e-3, 1e-2], **TRAINED), width=80)
    assert max(map(len, text.splitlines()[:12])) <= 80
    assert "…" not in text


def test_hours_say_what_they_rest_on() -> None:
    found = cost()
    assert line(found, "hours: ").endswith("), before anything was measured")
    kinds = tuple(
        replace(each, rests_on="its kind" if each.kind == "rank" else "nothing")
        for each in found.kinds
    )
    assert "but nothing of dense, prune" in line(replace(found, kinds=kinds), "hours: ")
    known = tuple(replace(each, rests_on="its kind") for each in found.kinds)
    assert line(replace(found, kinds=known), "hours: ").endswith(
        ", by what this store has measured"
    )


def test_the_time_is_that_of_the_machine() -> None:
    assert line(cost(gpus(4, "H100")), "time: ").endswith(" on 4 GPUs (H100)")


def test_weights_that_pass_through_the_store_are_said() -> None:
    stored = line(cost(gpus(2), **TRAINED), "store: ")
    assert stored.startswith("store: 10 GB kept, 24 GB written, up to 13 GB more meanwhile")
    assert line(cost(), "store: ") == "store: 10 GB kept"


def test_money_is_said_where_there_is_a_price() -> None:
    assert "money: " not in printed(cost())
    assert " at 2.5 per core-hour; " in line(cost(price=2.5), "money: ")


def test_what_is_partly_done_says_how_many_are_left() -> None:
    found = cost()
    kinds = tuple(replace(each, stages=3) for each in found.kinds)
    assert " 1 of 3 " in printed(replace(found, kinds=kinds))


def test_a_grid_that_is_done_costs_nothing(done: GridCost) -> None:
    assert "left to do: nothing, the store holds all of it" in printed(done)
    assert "hours: " not in printed(done)


def test_a_grid_of_unknown_models_is_not_said_to_be_done(done: GridCost) -> None:
    unknown = replace(done, cells=0)
    assert cost_line(unknown) == "not known, for the size of no model is"
    assert "the store holds all of it" not in printed(unknown)


def test_all_of_it_in_one_line() -> None:
    said = cost_line(cost(TWO_CORES))
    assert said.startswith("about ")
    assert " core-hours (" in said
    assert " on 2 cores; 10 GB in the store" in said


def test_cells_of_unknown_models_are_said_not_to_count() -> None:
    from orchestrator.costs.of_grid import cost_of

    models = [{"source": "a/some-7b", "layers": 32}, {"source": "b/other", "layers": 8}]
    found = cost_of(resolve_offline(grid(models=models)), TWO_CORES)
    assert "cost: of 1 of 2 cells" in printed(found)
    assert "note: sizes by their names, for no config.json is on this machine: some-7b 7B" in (
        printed(found)
    )
    assert "note: counted are 1 of 2 models; of the others neither" in printed(found)
