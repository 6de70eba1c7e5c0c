"""Aliases in the registry: who has one, and what is kept there of why."""

import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from orchestrator.tracking.tracker import MlflowTracker
from orchestrator.views.aliases import AliasClaim
from orchestrator.views.grid_view import GridView
from tests.orchestrator.sample_grids import claim
from tests.orchestrator.tracking.reading import EXPERIMENT, REGISTERED, client_of

MODEL, ALIAS, TAG = "Tiny-1.5M", "demo-best", "trsp.alias.demo-best"


@pytest.fixture
def registry(finished: tuple[str, GridView], tmp_path: Path) -> tuple[MlflowTracker, list[str]]:
    """A tracker on a copy of the finished grid, without aliases, and the keys of its cells."""
    uri, view = finished
    shutil.copy(uri.removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    tracker = MlflowTracker(f"sqlite:///{tmp_path}/mlflow.db", EXPERIMENT)
    return tracker, [cell.cell.key for cell in view.cells]


@pytest.fixture
def client(registry: tuple[MlflowTracker, list[str]], tmp_path: Path) -> MlflowClient:
    return client_of(f"sqlite:///{tmp_path}/mlflow.db")


def marked(client: MlflowClient) -> ModelVersion:
    return client.get_model_version_by_alias(REGISTERED, ALIAS)


def test_the_registry_says_why_a_version_has_an_alias(
    registry: tuple[MlflowTracker, list[str]], client: MlflowClient
) -> None:
    tracker, cells = registry
    given = claim(ALIAS, 23.2, stderr=0.6, runner_up="another (24)", warnings=("noisy",))
    assert tracker.move_alias(MODEL, cells[0], given).moves
    version = marked(client)
    assert version.tags["trsp.cell"] == cells[0]
    kept = json.loads(version.tags[TAG])
    assert (kept["metric"], kept["value"], kept["stderr"]) == ("perplexity/wiki", 23.2, 0.6)
    assert (kept["judged_by"], kept["version_before"]) == (given.judged_by, None)
    sentence = client.get_registered_model(REGISTERED).tags[TAG]
    assert sentence.startswith(f"version {version.version} since 20")
    for part in ("grid 'demo'", "23.2 +- 0.6", "params <= 1e+06", "runner-up: another", "noisy"):
        assert part in sentence


def test_a_worse_checkpoint_on_the_same_text_does_not_take_it(
    registry: tuple[MlflowTracker, list[str]], client: MlflowClient
) -> None:
    tracker, cells = registry
    tracker.move_alias(MODEL, cells[0], claim(ALIAS, 23.2))
    before = client.get_registered_model(REGISTERED).tags
    assert not tracker.move_alias(MODEL, cells[1], claim(ALIAS, 186.0)).moves
    assert marked(client).tags["trsp.cell"] == cells[0]
    assert client.get_registered_model(REGISTERED).tags == before


def test_a_better_one_takes_it_and_the_one_before_is_named(
    registry: tuple[MlflowTracker, list[str]], client: MlflowClient
) -> None:
    tracker, cells = registry
    tracker.move_alias(MODEL, cells[0], claim(ALIAS, 23.2))
    before = marked(client)
    assert tracker.move_alias(MODEL, cells[1], claim(ALIAS, 22.0)).moves
    now = marked(client)
    assert now.tags["trsp.cell"] == cells[1]
    assert json.loads(now.tags[TAG])["version_before"] == str(before.version)
    assert TAG not in client.get_model_version(REGISTERED, before.version).tags
    assert "perplexity/wiki 23.2" in client.get_registered_model(REGISTERED).tags[TAG]


def test_a_holder_outside_the_budget_gives_it_up_to_a_worse_one_within(
    registry: tuple[MlflowTracker, list[str]], client: MlflowClient
) -> None:
    tracker, cells = registry
    tracker.move_alias(MODEL, cells[0], claim(ALIAS, 23.2))
    assert tracker.move_alias(MODEL, cells[1], claim(ALIAS, 25.0), outside={cells[0]}).moves
    assert marked(client).tags["trsp.cell"] == cells[1]


def test_a_shared_alias_from_before_reasons_were_kept_is_left_where_it_is(
    registry: tuple[MlflowTracker, list[str]], client: MlflowClient
) -> None:
    tracker, cells = registry
    tracker.move_alias(MODEL, cells[0], claim(ALIAS, 23.2))
    old = marked(client)
    client.set_model_version_tag(REGISTERED, old.version, TAG, "what nobody understands")
    decision = tracker.move_alias(MODEL, cells[1], claim(ALIAS, 1.0, shared=True))
    assert not decision.moves
    assert "nothing is kept of why; delete it in MLflow" in decision.reason
    assert marked(client).version == old.version


@pytest.fixture
def other(client: MlflowClient) -> str:
    """The cell of a checkpoint of another source model, ``other``: a registered model apart."""
    client.create_registered_model("other", {})
    client.create_model_version("other", "/elsewhere", tags={"trsp.cell": "cell-other"})
    return "cell-other"


def holders(client: MlflowClient) -> list[tuple[str, str]]:
    models = client.search_registered_models()
    return [(model.name, str(model.aliases[ALIAS])) for model in models if ALIAS in model.aliases]


def of_other_model(value: float, **changes: str) -> AliasClaim:
    judged = claim(ALIAS).judged_by | {"model": "sha256:other"}
    return claim(ALIAS, value, judged_by=judged, **changes)


def test_of_a_grid_of_two_models_only_the_best_has_the_alias(
    registry: tuple[MlflowTracker, list[str]], client: MlflowClient, other: str
) -> None:
    tracker, cells = registry
    tracker.move_alias(MODEL, cells[0], claim(ALIAS, 23.2))
    before = marked(client)
    decision = tracker.move_alias("other", other, of_other_model(22.0))
    assert decision.moves
    assert f"version {before.version} of {REGISTERED} has it" in decision.reason
    assert holders(client) == [("other", "1")]
    assert TAG not in client.get_model_version(REGISTERED, before.version).tags
    said = client.get_registered_model(REGISTERED).tags[TAG]
    assert said.endswith(f"version 1 of other has it; version {before.version} had it before")


def test_an_alias_that_two_models_got_is_taken_from_the_other_when_the_best_is_known(
    registry: tuple[MlflowTracker, list[str]], client: MlflowClient, other: str
) -> None:
    """Where each model had the same alias by the same grid, and nothing moves any more."""
    tracker, cells = registry
    tracker.move_alias("other", other, of_other_model(24.0))
    stale = client.get_model_version("other", "1").tags[TAG]
    tracker.move_alias(MODEL, cells[0], claim(ALIAS, 23.2))
    client.set_registered_model_alias("other", ALIAS, "1")
    client.set_model_version_tag("other", "1", TAG, stale)
    assert not tracker.move_alias(MODEL, cells[0], claim(ALIAS, 23.2)).moves
    assert holders(client) == [(REGISTERED, str(marked(client).version))]


def test_the_same_alias_of_another_grid_on_another_model_is_left_alone(
    registry: tuple[MlflowTracker, list[str]], client: MlflowClient, other: str
) -> None:
    tracker, cells = registry
    tracker.move_alias("other", other, of_other_model(22.0, grid="another"))
    assert tracker.move_alias(MODEL, cells[0], claim(ALIAS, 23.2)).moves
    assert len(holders(client)) == 2


def test_the_models_page_leads_to_the_version_that_has_the_alias(
    registry: tuple[MlflowTracker, list[str]], client: MlflowClient
) -> None:
    tracker, cells = registry
    tracker.move_alias(MODEL, cells[0], claim(ALIAS, 23.2))
    tracker.move_alias(MODEL, cells[1], claim(ALIAS, 22.0))
    page = str(client.get_registered_model(REGISTERED).description)
    (row,) = [line for line in page.splitlines() if f"`{ALIAS}`" in line]
    assert f"[Version {marked(client).version}](#/models/{REGISTERED}/versions/" in row
    assert "perplexity/wiki 22 " in row


def test_the_page_of_a_model_that_lost_an_alias_no_longer_names_it(
    registry: tuple[MlflowTracker, list[str]], client: MlflowClient, other: str
) -> None:
    tracker, cells = registry
    tracker.move_alias(MODEL, cells[0], claim(ALIAS, 23.2))
    tracker.move_alias("other", other, of_other_model(22.0))
    assert f"`{ALIAS}`" not in str(client.get_registered_model(REGISTERED).description)
    assert f"`{ALIAS}`" in str(client.get_registered_model("other").description)
