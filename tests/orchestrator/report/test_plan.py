"""The plan: what would run, in under two seconds, without torch, network or cluster."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.grid.cells import text_id
from orchestrator.grid.expand import expand
from orchestrator.report.plan import Plan, StageLayout, make_plan
from orchestrator.stages.resolve import Resolved, resolve_offline
from tests.orchestrator.sample_grids import grid, model
from trsp.architecture.shape import model_shape

HEAVY = {"torch", "ray", "mlflow", "transformers", "datasets", "pyarrow"}
ROOT = Path(__file__).resolve().parents[3]
WIDTHS = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
CONFIG = {"model_type": "llama", "vocab_size": 32000, "dtype": "bfloat16", **WIDTHS}
SHAPE = model_shape(CONFIG)


def planned(layers: int = 20, layer_types: tuple[str, ...] = (), **changes: Any) -> Plan:
    found = grid(**changes)
    models = {
        entry.name: replace(model(entry.name, layers, layer_types), shape=SHAPE)
        for entry in found.models
    }
    return make_plan(Resolved(found, models, resolve_offline(found).study, expand(found, models)))


def counts(plan: Plan) -> dict[str, tuple[int, int]]:
    return {count.kind: (count.naive, count.at_most) for count in (*plan.stages, plan.rounds)}


def test_ranking_is_shared_by_ratios_and_drifts() -> None:
    plan = planned(
        models=["a/x", "b/y"], ratios=[0.1, 0.2, 0.3], gate_l1=[1e-3, 1e-2], drift=[1, 2]
    )
    assert plan.cells == 24
    assert counts(plan) == {
        "dense": (2, 2),
        "rank": (24, 4),  # models x gate_l1
        "transfer": (24, 24),
        "prune": (24, 24),
        "evaluate": (24, 24),
        "measure": (26, 8),  # shapes: 3 ratios and the unpruned, of 2 models
        "rank rounds": (96, 24),  # 6 of each ranking, not 2 + 4 + 6 for each drift
    }
    assert [(m.name, m.layers, m.cells, m.removed) for m in plan.models] == [
        ("x", 20, 12, (2, 4, 6)),
        ("y", 20, 12, (2, 4, 6)),
    ]


def test_what_no_cell_can_share_is_counted_apart() -> None:
    """``at most`` is a bound: mixed layer types make the shape depend on the choice of layers."""
    alike = planned(layers=4, layer_types=("full",) * 4, gate_l1=[1e-3, 1e-2])
    mixed = planned(layers=4, layer_types=("full", "sliding") * 2, gate_l1=[1e-3, 1e-2])
    assert (counts(alike)["measure"], counts(mixed)["measure"]) == ((3, 2), (3, 3))


def test_without_training_there_is_no_transfer() -> None:
    plan = planned(transfer="none", measurement={"protocol": "none"})
    assert (counts(plan)["transfer"], counts(plan)["measure"]) == ((0, 0), (0, 0))


def test_layouts_by_the_memory_that_the_grid_speaks_of(tmp_path: Path) -> None:
    """A folder with nothing but a config.json is enough to plan for."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))

    def layouts(**resources: Any) -> dict[str, StageLayout]:
        plan = make_plan(
            resolve_offline(grid(models=str(tmp_path), ratios=[0.1, 0.2], resources=resources))
        )
        return {each.stage.split()[0]: each for each in plan.layouts}

    found = layouts(gpu_memory="80GB")
    assert found.keys() == {"rank", "transfer", "prune", "evaluate", "measure", "dense"}
    assert found["transfer"].layout.startswith("2 ranks of 1 GPU, ZeRO 3")
    assert found["prune"].layout == "1 process on 1 CPU"
    assert found["evaluate"].layout == "1 process on 1/4 of a GPU"
    on_gpus = [each for name, each in found.items() if name != "prune"]
    assert all(each.gpu_bytes and each.gpu_bytes < 80e9 for each in on_gpus)
    assert all(each.gpu_bytes is None and each.host_bytes > 13e9 for each in layouts().values())
    refused = layouts(gpu_memory="8GB", memory="16GB", max_ranks=2)
    assert refused["transfer"].refusal.startswith("transfer of a model of 6.74B parameters needs")


def test_unknown_models_are_counted_and_told() -> None:
    found = grid(
        models=["hub/never-seen", {"source": "hub/other", "layers": 20}], ratios=[0.1, 0.2]
    )
    plan = make_plan(resolve_offline(found))
    assert [(m.name, m.layers, m.cells) for m in plan.models] == [
        ("never-seen", None, 2),
        ("other", 20, 2),
    ]
    assert plan.cells == 4
    assert counts(plan)["prune"] == (2, 2)
    assert plan.layouts == ()
    assert (
        "other: its config.json is not on this machine, so that its memory cannot be estimated here"
        in plan.warnings
    )
    assert any("never-seen is not on this machine" in warning for warning in plan.warnings)


def test_problems_are_refusals(tmp_path: Path) -> None:
    found = grid(
        models=[str(tmp_path / "no such folder"), {"source": "x/y", "layers": 10}], ratios=[0.01]
    )
    refusals = make_plan(resolve_offline(found)).refusals
    assert "no such folder' does not exist" in refusals[0]
    assert any(refusal.startswith("text 'wiki': there is no file") for refusal in refusals)
    assert any(refusal.startswith("ratio 0.01 removes none") for refusal in refusals)


def test_warnings() -> None:
    calibration = grid().calibration.text.model_dump()
    plan = planned(evaluation={"perplexity": [{"text": calibration}]})
    assert plan.warnings == (
        "perplexity/wiki is measured on the calibration text: it says nothing of unseen text",
    )
    assert planned(evaluation={}).warnings == (
        "evaluation names no text and no benchmark: no cell can be compared with another",
    )
    assert planned().warnings == ()


@pytest.mark.parametrize(("skipped", "warned"), [(None, True), (99, True), (100, False)])
def test_a_part_of_the_calibration_text_that_calibration_does_not_read_is_unseen(
    skipped: int | None, warned: bool
) -> None:
    text = grid().calibration.text.model_dump()
    plan = planned(
        calibration={"text": {**text, "max_documents": 100}},
        evaluation={"perplexity": [{"text": {**text, "skip_documents": skipped}}]},
    )
    assert bool(plan.warnings) == warned


def test_the_study_of_a_plan_has_a_name_for_every_text() -> None:
    resolved = resolve_offline(grid())
    texts = [resolved.grid.calibration.text, resolved.grid.evaluation.perplexity[0].text]
    assert {text_id(text) for text in texts} == resolved.study.text_fingerprints.keys()


@pytest.mark.parametrize("job", ["grid.yaml", "paper.yaml"])
def test_a_plan_takes_less_than_two_seconds_and_no_torch(job: str, tmp_path: Path) -> None:
    """Where its store holds nothing yet."""
    script = (
        "import sys; from orchestrator.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print('HEAVY', sorted({HEAVY} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", script, "plan", str(ROOT / "jobs" / job)]
    env = {**os.environ, "TRSP_HOME": str(tmp_path)}
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=env)
    after = os.times()
    assert "HEAVY []" in done.stdout
    assert "rank" in done.stdout
    # Processor time, since it waits for nothing: other work on the machine is not the plan's.
    assert (
        after.children_user + after.children_system - before.children_user - before.children_system
        < 2
    )


def test_no_two_rows_of_layouts_have_one_name(tmp_path: Path) -> None:
    """What ``heal`` takes depends on how many layers are gone."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    found = grid(models=str(tmp_path), ratios=[1 / 32, 0.25], transfer="heal")
    names = [layout.stage for layout in make_plan(resolve_offline(found)).layouts]
    assert {"transfer heal, 1 layer gone", "transfer heal, 8 layers gone"} <= {*names}
    assert len(names) == len({*names})


@pytest.mark.parametrize(
    ("share", "text"), [("8 GPUs", "8 GPUs"), (0.25, "25% of the cluster"), ("1 GPU", "1 GPU")]
)
def test_a_plan_says_what_share_of_a_cluster_a_grid_takes(share: object, text: str) -> None:
    assert planned(resources={"share": share}).share == text


def test_a_share_changes_no_stage() -> None:
    assert planned(resources={"share": "25%"}).stages == planned().stages
