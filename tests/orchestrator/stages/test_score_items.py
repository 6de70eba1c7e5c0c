"""The items of an evaluation: what each key knows, and what it does not."""

from typing import Any

from orchestrator.grid.cells import text_id
from orchestrator.stages.score_items import score_items
from orchestrator.stages.stage_specs import dense_spec, evaluate_spec
from tests.orchestrator.studies import MODEL, TEST, WIKI, cell, study
from trsp.config import BenchmarkSettings, EvaluationSettings, PerplexitySettings
from trsp.evaluation.items import item_names


def evaluation(*tasks: str, limit: int | None = None, **text: Any) -> EvaluationSettings:
    perplexity = PerplexitySettings(text=TEST.model_copy(update=text), window_tokens=32)
    return EvaluationSettings(
        perplexity=(perplexity,), benchmarks=BenchmarkSettings(tasks=tasks, limit=limit)
    )


def keys(settings: EvaluationSettings, layers: tuple[int, ...] = (4, 7)) -> dict[str, str]:
    spec = evaluate_spec(cell(), study(evaluation=settings), layers)
    return {name: item.key for name, item in score_items(spec).items()}


def test_the_items_are_those_that_are_computed() -> None:
    settings = evaluation("piqa", "copa")
    assert sorted(keys(settings)) == sorted(item_names(settings))


def test_a_new_task_leaves_every_other_item_as_it_was() -> None:
    before, after = keys(evaluation("piqa")), keys(evaluation("copa", "piqa"))
    assert before.items() < after.items()


def test_a_texts_name_is_no_part_of_its_item() -> None:
    named = TEST.model_copy(update={"name": "renamed"})
    given = study(
        evaluation=evaluation("piqa", name="renamed"),
        text_fingerprints={text_id(WIKI): "sha256:wiki", text_id(named): "sha256:test"},
    )
    renamed = score_items(evaluate_spec(cell(), given, (4, 7)))
    assert renamed["perplexity/renamed"].key == keys(evaluation("piqa"))["perplexity/test"]


def test_items_know_their_checkpoint() -> None:
    settings = evaluation("piqa")
    assert not set(keys(settings).values()) & set(keys(settings, (4, 5)).values())


def test_how_many_rows_are_scored_is_part_of_a_tasks_item_alone() -> None:
    all_rows, few = keys(evaluation("piqa")), keys(evaluation("piqa", limit=5))
    assert all_rows["piqa"] != few["piqa"]
    assert all_rows["perplexity/test"] == few["perplexity/test"]


def test_a_tasks_definition_is_part_of_its_item_alone() -> None:
    given = study(
        evaluation=evaluation("piqa", "copa"),
        benchmark_fingerprints={"piqa": {"version": 2}, "copa": "hub:copa"},
    )
    changed = score_items(evaluate_spec(cell(), given, (4, 7)))
    before = keys(evaluation("piqa", "copa"))
    assert [name for name in before if changed[name].key != before[name]] == ["piqa"]


def test_the_unpruned_models_items_are_its_own() -> None:
    given = study(evaluation=evaluation("piqa"))
    dense = {item.key for item in score_items(dense_spec(MODEL, given)).values()}
    assert not dense & set(keys(evaluation("piqa")).values())
