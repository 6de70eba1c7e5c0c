"""Names of registry aliases, who may have them, and what is kept of why. Pure; knows no registry.

An alias marks the best checkpoint under a budget of a grid. It belongs to the grid, whose name is
part of its own, and goes to no worse checkpoint than the one that holds it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from orchestrator.grid.budgets import Budget
from orchestrator.grid.cells import Study
from orchestrator.grid.schema import Grid
from orchestrator.stages.stage_specs import text_content
from orchestrator.views.budget import Choice
from orchestrator.views.grid_view import MEASURED, CellView
from trsp.records import lower_is_better

MAX_NAME = 200  # characters; MLflow takes 255
_DIGEST_DIGITS = 6


@dataclass(frozen=True)
class AliasClaim:
    """Why a checkpoint is to have an alias, as the registry keeps it beside the alias."""

    alias: str
    grid: str  # its name
    budget: str  # its limits, for people
    metric: str
    value: float
    stderr: float | None = None
    judged_by: Mapping[str, Any] = field(default_factory=dict)  # all that makes values comparable
    runner_up: str = ""  # the next cell and its value
    warnings: tuple[str, ...] = ()
    shared: bool = False  # whether the alias is without the grid's name

    @property
    def score(self) -> str:
        """The metric and its value, for people: ``perplexity/wiki 23.2 +- 0.6``."""
        error = "" if self.stderr is None else f" +- {self.stderr:.2g}"
        return f"{self.metric} {self.value:.4g}{error}"


@dataclass(frozen=True)
class AliasHolder:
    """The version that an alias marks now; ``claim`` is None where nothing is kept of why."""

    version: str
    is_the_checkpoint: bool  # that the alias is claimed for
    claim: AliasClaim | None = None
    keeps_limits: bool = True  # as its size and speed are known now: it may be measured anew


@dataclass(frozen=True)
class AliasDecision:
    """Whether the alias is to mark the claim's checkpoint, and why, for people."""

    moves: bool
    reason: str


def alias_name(grid_name: str, budget: Budget) -> str:
    """Return ``demo-best-params-110m``: the grid's name and the budget's, as MLflow takes them.

    A name that cannot stand there as it is gets a digest, so that no two come to the same.
    """
    return _fit(f"{_slug(grid_name)}-{budget.alias}")


def _slug(name: str) -> str:
    """Return the name, all but letters, digits, ``_`` and ``-`` replaced."""
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    return slug if slug == name else f"{slug or 'grid'}-{_digest(name)}"


def _fit(name: str) -> str:
    if len(name) <= MAX_NAME:
        return name
    return f"{name[: MAX_NAME - _DIGEST_DIGITS - 1]}-{_digest(name)}"


def _digest(name: str) -> str:
    return sha256(name.encode()).hexdigest()[:_DIGEST_DIGITS]


def alias_claims(choice: Choice, grid: Grid, study: Study) -> Iterator[AliasClaim]:
    """Yield the claims of a budget's best checkpoint: of the grid's alias, then of a shared one.

    The latter only where the grid asks for it; none where nothing meets the budget.
    """
    if choice.best is None:
        return
    evaluation = choice.best.evaluation
    score = evaluation.scores.get(choice.metric) if evaluation else None
    names = {alias_name(grid.name, choice.budget): False}
    if grid.tracking.shared_aliases:
        names[choice.budget.alias] = True
    for alias, shared in names.items():
        yield AliasClaim(
            alias=alias,
            grid=grid.name,
            budget=_limits(choice.budget),
            metric=choice.metric,
            value=choice.best.metrics()[choice.metric],
            stderr=score.stderr if score else None,
            judged_by=judged_by(choice, choice.best, study),
            runner_up=_runner_up(choice),
            warnings=choice.warnings,
            shared=shared,
        )


def _limits(budget: Budget) -> str:
    limits = [f"{name} <= {limit:,.10g}" for name, limit in budget.limits.items()]
    return ", ".join(limits) or "no limit"


def _runner_up(choice: Choice) -> str:
    if choice.runner_up is None:
        return ""
    value = choice.runner_up.metrics()[choice.metric]
    return f"{choice.runner_up.cell.name} ({value:.4g})"


def judged_by(choice: Choice, cell: CellView, study: Study) -> dict[str, Any]:
    """Return all that a checkpoint's value under a budget depends on, besides the checkpoint.

    Two values can be compared where this is equal: the content of the text and its windows, or the
    benchmarks' tasks; the model, whose tokens they are; and the budget's limits. Where the metric
    or a limit is measured (a time, peak memory), also the hardware and how it was measured there.
    """
    judged: dict[str, Any] = {
        "model": cell.cell.model.fingerprint,
        "precision": study.precision_of(cell.cell.model),
        "limits": dict(choice.budget.limits),
    }
    if any(each.endswith(MEASURED) for each in (choice.metric, *choice.budget.limits)):
        judged |= {"hardware": study.hardware, "protocol": _protocol(study)}
    return judged | _scored_by(choice.metric, study)


def _scored_by(metric: str, study: Study) -> dict[str, Any]:
    """Return what a score is made of; nothing of a metric that is a size or a speed."""
    kind, _, name = metric.partition("/")
    if kind == "perplexity":
        return _text_and_windows(name, study)
    if name or metric == "accuracy":
        return {"benchmarks": _benchmarks(kind, study)}
    return {}


def _protocol(study: Study) -> dict[str, Any]:
    return study.measurement.model_dump(mode="json")


def _text_and_windows(name: str, study: Study) -> dict[str, Any]:
    """Return what a perplexity is made of, by the name of its text."""
    (perplexity,) = (each for each in study.evaluation.perplexity if each.text.name == name)
    windows = perplexity.model_dump(mode="json", exclude={"text"})
    return {"text": text_content(study, perplexity.text), "windows": windows}


def _benchmarks(task: str, study: Study) -> dict[str, Any]:
    """Return what a benchmark's score is made of; of all tasks for what is no task's own."""
    benchmarks = study.evaluation.benchmarks
    if benchmarks is None:
        return {}
    known = study.benchmark_fingerprints
    return {
        "tasks": {task: known[task]} if task in known else dict(known),
        "limit": benchmarks.limit,
        "num_fewshot": benchmarks.num_fewshot,
    }


def decide_alias(claim: AliasClaim, holder: AliasHolder | None) -> AliasDecision:
    """Return whether the alias moves to the claim's checkpoint, from the one that holds it now."""
    if holder is None:
        return AliasDecision(True, "nobody had it")
    version, held = f"version {holder.version}", holder.claim
    if held is None:
        reason = f"{version} has it, and nothing is kept of why"
        return AliasDecision(not claim.shared, _unless_moved(claim, reason))
    if not claim.shared and held.grid != claim.grid:
        reason = f"it is that of grid {held.grid!r}; give this grid or its budget another name"
        return AliasDecision(False, reason)
    if (held.metric, held.judged_by) != (claim.metric, claim.judged_by):
        reason = f"{version} has it, judged by something else ({_difference(held, claim)})"
        return AliasDecision(not claim.shared, _unless_moved(claim, reason))
    if holder.is_the_checkpoint:
        return AliasDecision(False, f"{version} has it already")
    if not holder.keeps_limits:
        return AliasDecision(True, f"{version} is no longer within {claim.budget}")
    if not _is_better(claim, held):
        return AliasDecision(False, f"{version} is no worse: {held.score} against {claim.score}")
    return AliasDecision(True, f"better than {version}: {claim.score} against {held.score}")


def _unless_moved(claim: AliasClaim, reason: str) -> str:
    """Return the reason, with the cure where a shared alias stays for it."""
    return f"{reason}; delete it in MLflow to let it move" if claim.shared else reason


def _is_better(claim: AliasClaim, held: AliasClaim) -> bool:
    if lower_is_better(claim.metric):
        return claim.value < held.value
    return claim.value > held.value


def _difference(held: AliasClaim, claim: AliasClaim) -> str:
    """Return the names of what differs between what two checkpoints were judged by."""
    if held.metric != claim.metric:
        return f"by {held.metric}"
    names = {*held.judged_by, *claim.judged_by}
    differ = [name for name in names if held.judged_by.get(name) != claim.judged_by.get(name)]
    return ", ".join(sorted(differ))
