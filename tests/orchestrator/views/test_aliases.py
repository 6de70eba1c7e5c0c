"""Registry aliases: their names, the claims of a budget's best, and who may have one."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.grid.budgets import Budget
from orchestrator.grid.cells import text_id
from orchestrator.grid.schema import Grid
from orchestrator.views.aliases import (
    AliasClaim,
    AliasDecision,
    AliasHolder,
    alias_claims,
    alias_name,
    decide_alias,
)
from orchestrator.views.budget import choose
from tests.orchestrator.sample_grids import claim, grid, scored
from tests.orchestrator.sample_views import measurement_record
from tests.orchestrator.studies import study
from trsp.config import BenchmarkSettings, EvaluationSettings, PerplexitySettings, TextSource
from trsp.records import EvaluationRecord, Score

WIKI = TextSource(name="wiki", path="/texts/wiki.jsonl")
CELLS = (scored(1, 90, 30.0), scored(2, 100, 25.0))


@pytest.mark.parametrize(
    ("grid_name", "alias"),
    [("demo", "demo-best-params-110m"), ("7B_study-2", "7B_study-2-best-params-110m")],
)
def test_an_alias_is_the_grids_name_and_the_budgets(grid_name: str, alias: str) -> None:
    assert alias_name(grid_name, Budget.model_validate({"max_params": "110M"})) == alias


def test_names_that_mlflow_does_not_take_come_to_different_aliases() -> None:
    names = ["a grid", "a-grid", "a.grid", "a/grid", "été", "ete", "..", "a" * 300, "a" * 301]
    aliases = {alias_name(name, Budget()) for name in names}
    assert len(aliases) == len(names)
    assert all(len(alias) < 255 for alias in aliases)
    assert all(c.isascii() and (c.isalnum() or c in "_-") for alias in aliases for c in alias)


def asked(**changes: Any) -> Grid:
    return grid(name="demo", **changes)


def claims(given: Grid, budget: Budget, **evaluation: Any) -> list[AliasClaim]:
    perplexity = PerplexitySettings(text=WIKI, window_tokens=32, max_windows=5)
    settings = EvaluationSettings(**({"perplexity": (perplexity,)} | evaluation))
    known = study(evaluation=settings, text_fingerprints={text_id(WIKI): "sha256:wiki"})
    return list(alias_claims(choose(CELLS, budget), given, known))


def test_a_claim_says_by_what_its_checkpoint_was_judged() -> None:
    (only,) = claims(asked(), Budget(max_params=120))
    assert (only.alias, only.grid, only.budget) == ("demo-best-params-120", "demo", "params <= 120")
    assert (only.metric, only.value, only.runner_up) == (
        "perplexity/wiki",
        25.0,
        "20% reverse seed=1 (30)",
    )
    assert only.judged_by["text"]["fingerprint"] == "sha256:wiki"
    assert only.judged_by["windows"] == {"window_tokens": 32, "max_windows": 5, "bos": "auto"}
    assert only.judged_by["limits"] == {"params": 120}
    assert only.judged_by["model"] == "sha256:m"


def test_benchmarks_are_named_with_their_data() -> None:
    tasks = BenchmarkSettings(tasks=("piqa",), limit=20, batch_size=4)
    cells = [replace(scored(1, 90, 30.0, accuracy=Score(value=0.5, stderr=0.1)))]
    known = {"piqa": {"data": "hub", "version": 1.0}}
    evaluation = EvaluationSettings(benchmarks=tasks)
    given = study(evaluation=evaluation, benchmark_fingerprints=known)
    choice = choose(cells, Budget(metric="accuracy"))
    (only,) = alias_claims(choice, asked(), given)
    assert only.judged_by["benchmarks"] == {"tasks": known, "limit": 20, "num_fewshot": None}
    assert only.score == "accuracy 0.5 +- 0.1"


def test_a_score_of_one_task_is_judged_by_that_task_alone() -> None:
    scores = EvaluationRecord(scores={"piqa/acc": Score(value=0.5)})
    cells = [replace(scored(1, 90, 30.0), evaluation=scores)]
    evaluation = EvaluationSettings(benchmarks=BenchmarkSettings(tasks=("piqa", "arc_easy")))
    given = study(evaluation=evaluation, benchmark_fingerprints={"piqa": "p", "arc_easy": "a"})
    (only,) = alias_claims(choose(cells, Budget(metric="piqa/acc")), asked(), given)
    assert only.judged_by["benchmarks"]["tasks"] == {"piqa": "p"}


def measured_claim(metric: str, hardware: str) -> AliasClaim:
    """The claim of the best by a measured metric, without limits, on this hardware."""
    cells = [replace(each, measurement=measurement_record(0.5)) for each in CELLS]
    given = study(hardware=hardware, benchmark_fingerprints={"piqa": hardware})
    (only,) = alias_claims(choose(cells, Budget(metric=metric)), asked(), given)
    return only


@pytest.mark.parametrize("metric", ["generate_tokens_per_s", "latency_ms", "peak_memory_bytes"])
def test_the_best_by_a_speed_is_judged_on_its_hardware(metric: str) -> None:
    slow, fast = (measured_claim(metric, hardware) for hardware in ("A10", "H100"))
    assert (slow.judged_by["hardware"], fast.judged_by["hardware"]) == ("A10", "H100")
    assert slow.judged_by["protocol"] == fast.judged_by["protocol"] != {}
    decision = decide_alias(fast, holder(slow))
    assert "judged by something else (hardware)" in decision.reason


def test_an_alias_without_the_grids_name_is_claimed_only_where_that_is_set() -> None:
    shared = asked(tracking={"shared_aliases": True})
    found = [(each.alias, each.shared) for each in claims(shared, Budget(max_params=120))]
    assert found == [("demo-best-params-120", False), ("best-params-120", True)]


def test_nothing_is_claimed_where_nothing_meets_the_budget() -> None:
    assert claims(asked(), Budget(max_params=1)) == []


def holder(held: AliasClaim | None, is_the_checkpoint: bool = False) -> AliasHolder:
    return AliasHolder("3", is_the_checkpoint, held)


def test_an_alias_that_nobody_has_is_given() -> None:
    assert decide_alias(claim(), None).moves


def test_a_better_checkpoint_gets_it() -> None:
    assert decide_alias(claim(value=19.0), holder(claim(value=20.0))) == AliasDecision(
        True, "better than version 3: perplexity/wiki 19 against perplexity/wiki 20"
    )


@pytest.mark.parametrize("value", [20.0, 186.0])
@pytest.mark.parametrize("shared", [True, False])
def test_no_other_checkpoint_gets_it(value: float, shared: bool) -> None:
    decision = decide_alias(claim(value=value, shared=shared), holder(claim(value=20.0)))
    assert not decision.moves
    assert "version 3 is no worse: perplexity/wiki 20 against" in decision.reason


def test_a_holder_that_was_measured_anew_and_is_too_slow_gives_it_up() -> None:
    slow = AliasHolder("3", False, claim(value=20.0), keeps_limits=False)
    assert decide_alias(claim(value=25.0), slow) == AliasDecision(
        True, "version 3 is no longer within params <= 1e+06"
    )


def test_of_accuracies_the_higher_is_better() -> None:
    low, high = claim(value=0.4, metric="accuracy"), claim(value=0.5, metric="accuracy")
    assert decide_alias(high, holder(low)).moves
    assert not decide_alias(low, holder(high)).moves


def test_the_checkpoint_that_has_it_keeps_it() -> None:
    decision = decide_alias(claim(), holder(claim(), is_the_checkpoint=True))
    assert decision == AliasDecision(False, "version 3 has it already")


OTHER_TEXT = {"text": "sha256:other", "windows": {"window_tokens": 256}}


def test_a_holder_judged_by_something_else_gives_up_only_the_grids_own_alias() -> None:
    held = holder(claim(value=20.0, judged_by=OTHER_TEXT))
    own = decide_alias(claim(value=30.0), held)
    shared = decide_alias(claim(value=10.0, shared=True), held)
    assert own == AliasDecision(True, "version 3 has it, judged by something else (text)")
    assert not shared.moves
    assert "judged by something else (text); delete it in MLflow" in shared.reason


def test_a_holder_judged_by_another_metric_is_said_to_be() -> None:
    decision = decide_alias(claim(), holder(claim(metric="accuracy")))
    assert decision.reason == "version 3 has it, judged by something else (by accuracy)"


def test_a_holder_of_which_no_reason_is_kept_gives_up_only_the_grids_own_alias() -> None:
    assert decide_alias(claim(), holder(None)).moves
    assert not decide_alias(claim(shared=True), holder(None)).moves


def test_an_alias_of_another_grid_that_comes_to_the_same_is_left_alone() -> None:
    """Budget ``b-c`` of grid ``a`` and budget ``c`` of grid ``a-b``."""
    decision = decide_alias(claim(grid="a-b", value=1.0), holder(claim(grid="a")))
    assert not decision.moves
    assert decision.reason.startswith("it is that of grid 'a'; give this grid")
