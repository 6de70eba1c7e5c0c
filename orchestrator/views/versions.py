"""Which numbers that are compared were computed with different libraries or devices. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator.stages.stage_specs import StageKind
from orchestrator.views.budget import Choice
from orchestrator.views.grid_view import MEASURED, CellView, DenseView, Versions

_SIZES = frozenset({"params", "bytes", "kv_bytes_per_token"})  # the same whatever computed them
_SHOWN = ("torch", "transformers", "lm_eval", "device")


def with_version_warnings(choice: Choice, dense: Sequence[DenseView]) -> Choice:
    """Return the choice with a warning for each comparison of differently computed numbers.

    The best is compared with the runner-up, and with the unpruned model that it was made of.
    """
    kind = _kind(choice.metric)
    if choice.best is None or kind is None:
        return choice
    model = choice.best.cell.model.fingerprint
    others: list[tuple[str, CellView | DenseView | None]] = [("runner-up", choice.runner_up)]
    others += [("unpruned model", part) for part in dense if part.model.fingerprint == model]
    best = choice.best.versions.get(kind, {})
    warnings = [
        f"{choice.metric} of the best and of the {name} were computed differently: "
        + "; ".join(differences)
        for name, other in others
        if other and (differences := [*version_differences(best, other.versions.get(kind, {}))])
    ]
    return replace(choice, warnings=(*choice.warnings, *warnings))


def shown_versions(versions: Versions) -> dict[str, str]:
    """Return the few that are shown beside a result: those of its scores, else of its weights."""
    known = versions.get(StageKind.EVALUATE) or versions.get(StageKind.PRUNE) or {}
    return {name: known[name] for name in _SHOWN if name in known}


def _kind(metric: str) -> StageKind | None:
    """Return the kind of stage that a metric comes from; None where versions cannot change it."""
    if metric in _SIZES:
        return None
    return StageKind.MEASURE if metric.endswith(MEASURED) else StageKind.EVALUATE


def version_differences(best: Mapping[str, str], other: Mapping[str, str]) -> Iterator[str]:
    """Yield ``torch 2.9.0 and 2.10.0`` for each that is known of both and differs."""
    for name in best:
        if name in other and best[name] != other[name]:
            yield f"{name} {best[name]} and {other[name]}"
