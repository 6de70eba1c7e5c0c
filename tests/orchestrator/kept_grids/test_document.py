"""What a store keeps of a grid, and the grid that comes of it again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.grid.cells import text_id
from orchestrator.grid.schema import load_grid
from orchestrator.kept_grids.document import KeptGrid, asked_of, kept_grid, resolved_from
from orchestrator.stages.resolve import Resolved, resolve, resolved_of
from orchestrator.stages.stage_specs import cell_stages, ranking_spec
from tests.golden.test_keys import GRIDS
from tests.golden.test_keys import resolved as resolved_job
from tests.orchestrator.fake_launcher import resolved as sample
from tests.orchestrator.sample_grids import grid, grid_file, model
from tests.tiny import tiny_config
from tests.tiny_grid import tiny_grid
from trsp.architecture.shape import model_shape
from trsp.errors import StoreError

STORE = "s3://other/place"


def again(resolved: Resolved, file: Path = Path("job.yaml")) -> Resolved:
    """The grid after it has been through the store's JSON."""
    document = json.dumps(kept_grid(resolved, resolved.grid, file).model_dump(mode="json"))
    return resolved_from(KeptGrid.model_validate_json(document), resolved.key, STORE)


def all_keys(resolved: Resolved) -> list[str]:
    study = resolved.study
    found = [resolved.key]
    for cell in resolved.cells:
        stages = (ranking_spec(cell, study), *cell_stages(cell, study, range(cell.removed)))
        found += [cell.name, *(spec.key for spec in stages)]
    return found


@pytest.mark.parametrize("job", GRIDS, ids=lambda path: path.stem)
def test_every_key_and_name_of_a_kept_job_is_that_of_the_job(job: Path) -> None:
    resolved = resolved_job(job)
    assert all_keys(again(resolved)) == all_keys(resolved)


def test_a_pattern_of_what_is_left_out_stays_as_wide_as_it_was(tmp_path: Path) -> None:
    both = [
        {"name": "gates", "steps_per_round": 2},
        {"name": "gates", "steps_per_round": 3},
        "random",
    ]
    resolved = sample(tmp_path, selectors=both, exclude=[{"selectors": "gates", "ratios": 0.5}])
    assert all_keys(again(resolved)) == all_keys(resolved)


def test_a_kept_grid_has_the_store_that_it_was_found_in(tmp_path: Path) -> None:
    assert again(sample(tmp_path)).grid.storage.store == STORE


def test_what_is_kept_of_a_real_grid_resolves_to_it(
    tiny_llama: Path, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRSP_HOME", str(tmp_path))
    resolved = resolve(load_grid(tiny_grid(tmp_path, tiny_llama, text_file)))
    assert all_keys(again(resolved)) == all_keys(resolved)
    assert dict(again(resolved).models) == dict(resolved.models)


def test_no_credentials_are_kept(tmp_path: Path) -> None:
    secret = "s3://KEY:SECRET@bucket/x?secret_key=SECRET"
    storage = {"store": secret}
    resolved = sample(tmp_path, storage=storage, tracking={"uri": "https://u:SECRET@host"})
    file = grid_file(tmp_path, storage=storage)
    kept = kept_grid(resolved, resolved.grid, file)
    assert "storage:" in kept.text
    assert "SECRET" not in kept.model_dump_json()


def test_a_grid_of_an_older_version_says_what_to_do() -> None:
    kept = KeptGrid.model_validate({"name": "demo", "hardware": "cpu"})
    with pytest.raises(StoreError, match=r"'demo'.*grid-1.*give its file"):
        resolved_from(kept, "grid-1", STORE)


def test_a_grid_that_means_something_else_now_is_refused(tmp_path: Path) -> None:
    resolved = sample(tmp_path)
    kept = kept_grid(resolved, resolved.grid, Path("job.yaml"))
    with pytest.raises(StoreError, match="another version of trsp"):
        resolved_from(kept, "grid-of-before", STORE)


def test_what_is_asked_for_does_not_know_where_things_lie() -> None:
    here, there = grid(models="/a/m"), grid(models="/b/m")
    assert asked_of(here) == asked_of(there)


def test_what_is_asked_for_knows_whose_model_it_is() -> None:
    assert asked_of(grid(models="ours/m")) != asked_of(grid(models="theirs/m"))


def test_what_is_asked_for_is_not_what_budgets_and_resources_say() -> None:
    changed = grid(budgets=[{"max_params": 5}], resources={"max_parallel": 3})
    assert asked_of(changed) == asked_of(grid())


def test_limits_are_asked_for_where_ratios_follow_the_budgets() -> None:
    large, small = ({"max_params": limit} for limit in (5, 6))
    assert asked_of(grid(ratios="auto", budgets=[large])) != asked_of(
        grid(ratios="auto", budgets=[small])
    )
    assert asked_of(grid(ratios="auto", budgets=[large])) == asked_of(
        grid(ratios="auto", budgets=[{**large, "name": "mine"}])
    )


def test_ratios_that_follow_budgets_are_the_same_after_the_store() -> None:
    shape = model_shape({"model_type": "llama", **tiny_config("llama", 10).to_dict()})
    found = grid(ratios="auto", budgets=[{"max_params": shape.params - 2 * shape.layer_params}])
    texts = (found.calibration.text, found.evaluation.perplexity[0].text)
    fingerprints = {text_id(text): f"sha256:{text.path}" for text in texts}
    models = {"m": replace(model(), shape=shape)}
    resolved = resolved_of(found, models, "cpu", fingerprints, {})
    assert [cell.removed for cell in resolved.cells] == [2]
    assert all_keys(again(resolved)) == all_keys(resolved)
