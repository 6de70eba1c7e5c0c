"""``trsp gc`` as JSON for programs."""

from typing import Any

from orchestrator.keeping.decide import Action
from orchestrator.keeping.held import by_kind
from orchestrator.keeping.survey import Survey


def survey_dict(survey: Survey) -> dict[str, Any]:
    """Return what a store holds, in bytes, and what of it nobody needs."""
    decision = survey.decision
    return {
        "held": {what: size for what, (size, _) in by_kind(survey.stages).items()},
        "cache": survey.cache_bytes,
        "grids": [
            {"key": grid.key, "name": grid.name, "needs": needed, "alone": alone}
            for grid in survey.needs.grids
            for needed, alone in (survey.grid_bytes(grid.key),)
        ],
        "unneeded": {
            action: {each.key: each.size_bytes for each in decision.of(action)} for action in Action
        },
        "notes": list(survey.notes),
    }
