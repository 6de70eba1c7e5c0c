"""The examples that ship are the clone's jobs, and find their schema from any folder."""

import pytest

from orchestrator.first_grid.examples import example, example_names
from tests.rooms import ROOT
from trsp.errors import InvalidInputError


def test_every_job_is_an_example() -> None:
    assert set(example_names()) == {path.stem for path in (ROOT / "jobs").glob("*.yaml")}


def test_an_example_is_the_job_but_for_where_its_schema_lies() -> None:
    shipped = (ROOT / "jobs" / "demo.yaml").read_text(encoding="utf-8").splitlines()
    written = example("demo").splitlines()
    assert [i for i, (a, b) in enumerate(zip(shipped, written, strict=True)) if a != b] == [1]
    assert written[1].endswith(f"$schema={ROOT}/orchestrator/grid.schema.json")


def test_an_unknown_example_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match="known are 70b, demo, grid, paper; did you mean"):
        example("dem")
