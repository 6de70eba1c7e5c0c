"""Aliases in MLflow's registry: who holds one now, and giving one with the reasons beside it.

What is decided comes from ``orchestrator.views.aliases``; only who holds an alias is read here.
"""

import json
import time
from dataclasses import asdict, fields
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from orchestrator.redact import redact
from orchestrator.tracking.models import registered_name, versions
from orchestrator.views.aliases import AliasClaim, AliasDecision, AliasHolder, decide_alias
from trsp.errors import TrackingError

_TAG = "trsp.alias."  # and the alias: on the version that has it, and on the registered model


def move_alias(
    client: MlflowClient, model_name: str, cell_key: str, claim: AliasClaim
) -> AliasDecision:
    """Give an alias to the newest version made for a cell, unless its holder is to keep it.

    ``model_name``: of the source model. The version then has the claim as a tag, and the registered
    model a sentence. Raises TrackingError when there is no such version.
    """
    name = registered_name(model_name)
    newest_first = versions(client, name, cell_key)
    if not newest_first:
        raise TrackingError(
            f"registered model {name!r} has no version of cell {cell_key}: "
            "its checkpoint is not there"
        )
    version, present = newest_first[0], _present_holder(client, name, claim.alias)
    holder = present and _holder(present, version, claim.alias)
    decision = decide_alias(claim, holder)
    if decision.moves:
        _give(client, version, claim, decision, present)
    return decision


def _present_holder(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """Return the version that an alias marks; None where it marks none."""
    number = client.get_registered_model(name).aliases.get(alias)
    return client.get_model_version(name, number) if number is not None else None


def _holder(present: ModelVersion, ours: ModelVersion, alias: str) -> AliasHolder:
    same = present.version == ours.version
    return AliasHolder(str(present.version), same, _read_claim(present.tags.get(_TAG + alias)))


def _read_claim(stored: str | None) -> AliasClaim | None:
    """Return the claim that a tag holds; None for none, and for one that cannot be understood."""
    try:
        values: Any = json.loads(stored or "")
        known = {field.name for field in fields(AliasClaim)}
        return AliasClaim(**{name: value for name, value in values.items() if name in known})
    except (ValueError, TypeError, AttributeError):
        return None


def _give(
    client: MlflowClient,
    version: ModelVersion,
    claim: AliasClaim,
    decision: AliasDecision,
    present: ModelVersion | None,
) -> None:
    """Write why, then move the alias; the version that had it loses its tag."""
    tag, when = _TAG + claim.alias, time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    before = str(present.version) if present else None
    kept = asdict(claim) | {"when": when, "why": decision.reason, "version_before": before}
    client.set_model_version_tag(version.name, version.version, tag, redact(json.dumps(kept)))
    sentence = redact(_sentence(version, claim, decision, when))
    client.set_registered_model_tag(version.name, tag, sentence)
    client.set_registered_model_alias(version.name, claim.alias, version.version)
    if present and present.version != version.version and tag in present.tags:
        client.delete_model_version_tag(version.name, present.version, tag)


def _sentence(version: ModelVersion, claim: AliasClaim, decision: AliasDecision, when: str) -> str:
    """Return why the version has the alias, for people."""
    parts = [
        f"version {version.version} since {when}: best of grid {claim.grid!r}, {claim.score} with "
        f"{claim.budget}; {decision.reason}",
        f"runner-up: {claim.runner_up}" if claim.runner_up else "no runner-up",
        *claim.warnings,
    ]
    return "; ".join(parts)
