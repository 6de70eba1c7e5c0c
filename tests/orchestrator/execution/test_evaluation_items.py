"""Evaluations of a tiny model, item by item: what is computed, kept and found again."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.execution.run_stage import StageTask, run_task
from orchestrator.execution.versions import merged
from orchestrator.stages.resolve import Resolved, resolve
from orchestrator.stages.score_items import score_items
from orchestrator.stages.stage_specs import StageSpec, dense_spec, evaluate_spec, prune_spec
from orchestrator.store.store import Store
from tests.orchestrator.execution.conftest import LAYERS, RunStage
from tests.trsp.evaluation.benchmark_rows import items, write_items
from trsp.evaluation import items as computing
from trsp.records import EvaluationRecord


@pytest.fixture(autouse=True)
def no_pip_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval adds what ``pip list`` prints to its results, which takes a second each time."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)


@pytest.fixture
def asked(resolved: Resolved, tmp_path: Path) -> "Asked":
    return Asked(resolved, write_items(tmp_path / "rows", items(True, count=3)))


class Asked:
    """Grids of one model that differ in the tasks of their evaluation."""

    def __init__(self, resolved: Resolved, rows: Path) -> None:
        self.resolved, self.rows = resolved, rows

    def study(self, *tasks: str) -> Any:
        grid = self.resolved.grid
        evaluation = grid.evaluation.model_dump()
        evaluation["benchmarks"] = {"tasks": tasks, "data": str(self.rows)} if tasks else None
        changed = type(grid.evaluation).model_validate(evaluation)
        return resolve(grid.model_copy(update={"evaluation": changed}), hardware="cpu").study

    def evaluate(self, *tasks: str) -> StageSpec:
        return evaluate_spec(self.resolved.cells[0], self.study(*tasks), LAYERS)

    def prune(self) -> StageSpec:
        return prune_spec(self.resolved.cells[0], self.resolved.study, LAYERS)

    def dense(self, *tasks: str) -> StageSpec:
        return dense_spec(self.resolved.models["tiny-llama"], self.study(*tasks))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The items that are computed from now on, in order."""
    names: list[str] = []
    perplexity, benchmark = computing.perplexity_item, computing.benchmark_item

    def note_text(*given: Any) -> Any:
        names.append("perplexity")
        return perplexity(*given)

    def note_task(model: Any, tokenizer: Any, settings: Any) -> Any:
        names.extend(settings.tasks)
        return benchmark(model, tokenizer, settings)

    monkeypatch.setattr(computing, "perplexity_item", note_text)
    monkeypatch.setattr(computing, "benchmark_item", note_task)
    return names


def scores(store: Store, spec: StageSpec) -> dict[str, float]:
    record = EvaluationRecord.model_validate(store.stages.result(spec.key))
    return {name: score.value for name, score in record.scores.items()}


def test_adding_a_task_evaluates_only_that_task(
    asked: Asked, store: Store, run: RunStage, computed: list[str]
) -> None:
    first, second = asked.evaluate("piqa"), asked.evaluate("piqa", "copa")
    assert run(asked.prune()) is None
    assert run(first) is None
    assert computed == ["perplexity", "piqa"]
    computed.clear()
    assert run(second) is None
    assert computed == ["copa"]
    before, after = scores(store, first), scores(store, second)
    assert {name: after[name] for name in before if name != "accuracy"} == {
        name: value for name, value in before.items() if name != "accuracy"
    }
    assert after["accuracy"] == pytest.approx((after["piqa/acc_norm"] + after["copa/acc"]) / 2)


def test_where_every_item_is_known_no_model_is_loaded(
    asked: Asked, store: Store, run: RunStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(asked.prune()) is None
    assert run(asked.evaluate("piqa", "copa")) is None
    monkeypatch.setattr(
        "orchestrator.execution.stage_inputs.load_input_model",
        lambda *_: pytest.fail("a model was loaded"),
    )
    assert run(asked.evaluate("copa")) is None
    assert set(scores(store, asked.evaluate("copa"))) == {"perplexity/tiny", "copa/acc", "accuracy"}


def test_an_item_that_fails_leaves_those_before_it(
    asked: Asked, store: Store, run: RunStage, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = asked.evaluate("piqa", "copa")
    assert run(asked.prune()) is None
    piqa_and_text = {score_items(spec)[name].key for name in ("perplexity/tiny", "piqa")}
    noting = computing.benchmark_item

    def failing(model: Any, tokenizer: Any, settings: Any) -> Any:
        if settings.tasks == ("copa",):
            raise RuntimeError("the machine went away")
        return noting(model, tokenizer, settings)

    monkeypatch.setattr(computing, "benchmark_item", failing)
    assert run(spec) is not None
    assert all(store.stages.done(key) for key in piqa_and_text)
    assert not store.stages.done(spec.key)
    monkeypatch.setattr(computing, "benchmark_item", noting)
    computed.clear()
    assert run(spec) is None
    assert computed == ["copa"]


def test_items_do_not_depend_on_their_neighbours(
    asked: Asked, store: Store, run: RunStage, tmp_path: Path
) -> None:
    alone, together = asked.dense("copa"), asked.dense("piqa", "copa")
    assert run(together) is None
    values = store.stages.result(score_items(together)["copa"].key)
    other = Store(str(tmp_path / "another store"))
    assert values is not None
    assert run_task(StageTask(alone, other.uri)) is None
    again = other.stages.result(score_items(alone)["copa"].key)
    assert again is not None
    assert again["scores"] == values["scores"]


def test_a_result_says_what_it_was_computed_with(asked: Asked, store: Store, run: RunStage) -> None:
    spec = asked.prune()
    assert run(spec) is None
    assert run(asked.evaluate()) is None
    for key in (spec.key, asked.evaluate().key):
        found = store.stages.stored(key)["versions"]
        assert {"python", "torch", "transformers", "datasets", "device"} <= found.keys()
        assert found["device"] == "cpu"


def test_a_result_of_old_and_new_items_names_both_versions(
    asked: Asked, store: Store, run: RunStage
) -> None:
    assert run(asked.prune()) is None
    first, second = asked.evaluate(), asked.evaluate("piqa")
    assert run(first) is None
    (item,) = score_items(first).values()
    file = Path(store.stages.uri(item.key), "result.json")
    stored = json.loads(file.read_text())
    stored["versions"]["torch"] = "1.13.0"
    file.write_text(json.dumps(stored))
    assert run(second) is None
    assert store.stages.stored(second.key)["versions"]["torch"].startswith("1.13.0, 2.")


def test_merged_versions_stand_once_each() -> None:
    parts = [{"torch": "2.9", "device": "cpu"}, {"torch": "2.9, 2.10"}, {"torch": "2.10"}]
    assert merged(parts) == {"torch": "2.9, 2.10", "device": "cpu"}


def test_an_item_that_cannot_be_read_fails_its_stage_by_name(
    asked: Asked, store: Store, run: RunStage
) -> None:
    assert run(asked.prune()) is None
    spec = asked.evaluate()
    (item,) = score_items(spec).values()
    store.items.commit(item, {"scores": {"perplexity": {"value": None}}}, {})
    failure = run(spec)
    assert failure is not None
    assert f"{item.key}/result.json" in failure.message
