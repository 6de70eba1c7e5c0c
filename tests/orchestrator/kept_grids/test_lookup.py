"""Which grid a file, a name or a key means, on machines that have its models and that have not."""

from pathlib import Path

import pytest

from orchestrator.grid.schema import load_grid
from orchestrator.kept_grids.document import KeptGrid, kept_grid
from orchestrator.kept_grids.lookup import look_up
from orchestrator.stages.resolve import Resolved
from orchestrator.store.store import Store
from tests.orchestrator.fake_launcher import resolved as sample
from tests.orchestrator.sample_grids import grid_file
from trsp.errors import InvalidInputError, UnreachableError


class Looker:
    """A machine without models and texts, that reaches a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = str(folder / "store")
        self.notes: list[str] = []

    def keep(self, started: float = 1e9, file: Path | None = None, **changes: object) -> Resolved:
        """Let the store keep a grid, as if it had been run at that time."""
        resolved = sample(self.folder, **changes)
        asked = load_grid(file) if file else resolved.grid
        kept = kept_grid(resolved, asked, file or Path("g.yaml"))
        kept = kept.model_copy(update={"started": started, "by": "ada@node-1"})
        Store(self.uri).grids.save(resolved.key, kept.model_dump(mode="json"))
        return resolved

    def find(self, which: str | Path, store: str | None = None) -> Resolved:
        return look_up(str(which), store or self.uri, self.notes.append)

    def refusal(self, which: str | Path, store: str | None = None) -> str:
        with pytest.raises(InvalidInputError) as caught:
            self.find(which, store)
        return str(caught.value)


@pytest.fixture
def looker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Looker:
    monkeypatch.setenv("TRSP_HOME", str(tmp_path / "home"))
    return Looker(tmp_path)


def test_a_name_finds_the_grid(looker: Looker) -> None:
    kept = looker.keep()
    assert looker.find("g").key == kept.key
    assert not looker.notes


def test_the_name_of_its_file_finds_the_grid(looker: Looker) -> None:
    kept = looker.keep()
    assert looker.find("g.yaml").key == kept.key


def test_the_beginning_of_its_key_finds_the_grid(looker: Looker) -> None:
    kept = looker.keep()
    looker.keep(name="other")
    assert looker.find(kept.key.removeprefix("grid-")[:8]).key == kept.key
    assert looker.find(kept.key[:13]).key == kept.key


def test_the_newest_of_a_name_is_shown_and_the_others_named(looker: Looker) -> None:
    old, new = looker.keep(1e9), looker.keep(2e9, ratios=[0.3])
    assert looker.find("g").key == new.key
    assert "several grids are called 'g'" in looker.notes[0]
    assert "of ada@node-1, 2033-05-18" in looker.notes[0]
    assert old.key in looker.notes[0]


def test_an_unknown_name_is_answered_with_the_nearest(looker: Looker) -> None:
    looker.keep(name="demo")
    assert "it keeps demo; did you mean 'demo'?" in looker.refusal("demos")


def test_a_store_without_grids_says_so(looker: Looker) -> None:
    assert "keeps no grid yet; give a grid's file, or --store" in looker.refusal("demo")


def test_a_beginning_of_several_keys_is_answered_with_them(looker: Looker) -> None:
    keys = {looker.keep().key, looker.keep(ratios=[0.3]).key}
    said = looker.refusal("grid-")
    assert all(key in said for key in keys)


def test_a_file_that_is_not_there_is_said_to_be_not_there(looker: Looker) -> None:
    assert "no such file" in looker.refusal("jobs/absent.yaml")


def test_the_store_may_come_from_the_environment(
    looker: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = looker.keep()
    monkeypatch.setenv("TRSP_STORE", looker.uri)
    assert look_up("g", None, print).key == kept.key


# --- a file whose models and texts are not here -------------------------------


def written(looker: Looker, **changes: object) -> Path:
    axes = {"name": "g", "ratios": [0.2, 0.5], "gate_l1": [1e-3, 1e-2], "drift": 1e-3}
    return grid_file(looker.folder, **(axes | changes), storage={"store": looker.uri})


def test_a_file_without_its_models_is_the_grid_that_the_store_keeps(looker: Looker) -> None:
    file = written(looker)
    kept = looker.keep(file=file)
    assert look_up(str(file), None, looker.notes.append).key == kept.key
    assert looker.notes[0].startswith(f"as the store keeps it ({kept.key[:14]} of ada@node-1, ")
    assert "for here" in looker.notes[0]


def test_a_kept_grid_has_the_budgets_of_the_file(looker: Looker) -> None:
    looker.keep(file=written(looker))
    file = written(looker, budgets=[{"max_params": 77}])
    (budget,) = look_up(str(file), None, looker.notes.append).grid.budgets
    assert budget.max_params == 77


def test_a_file_that_has_changed_since_says_what_has(looker: Looker) -> None:
    looker.keep(file=written(looker))
    file = written(looker, ratios=[0.3], seeds=[1])
    with pytest.raises((InvalidInputError, UnreachableError)):
        look_up(str(file), None, looker.notes.append)
    assert "ratios, seeds have changed since it was run" in looker.notes[0]


def test_a_file_that_was_never_run_says_what_is_wrong_here(looker: Looker) -> None:
    with pytest.raises((InvalidInputError, UnreachableError), match="m"):
        look_up(str(written(looker)), None, looker.notes.append)
    assert not looker.notes


def test_what_cannot_be_read_as_a_kept_grid_is_passed_over(looker: Looker) -> None:
    kept = looker.keep()
    Store(looker.uri).grids.save("grid-0", {"name": ["of", "another", "kind"]})
    assert looker.find("g").key == kept.key


def test_a_grid_without_a_time_is_older_than_all(looker: Looker) -> None:
    kept = looker.keep()
    Store(looker.uri).grids.save("grid-0", KeptGrid(name="g").model_dump(mode="json"))
    assert looker.find("g").key == kept.key
