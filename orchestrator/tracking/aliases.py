"""Aliases in MLflow's registry: who holds one now, and giving one with the reasons beside it.

What is decided comes from ``orchestrator.views.aliases``; only who holds an alias is read here.
"""

import json
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, fields
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from orchestrator.redact import redact
from orchestrator.tracking.content.registry_notes import Marked, with_best
from orchestrator.tracking.content.values import registered_name
from orchestrator.tracking.models import versions
from orchestrator.views.aliases import AliasClaim, AliasDecision, AliasHolder, decide_alias
from trsp.errors import TrackingError

_TAG = "trsp.alias."  # and the alias: on the version that has it, and on the registered model


def move_alias(
    client: MlflowClient,
    model_name: str,
    cell_key: str,
    claim: AliasClaim,
    outside: Collection[str] = (),
) -> AliasDecision:
    """Give an alias to the newest version made for a cell, unless its holder is to keep it.

    ``model_name``: of the source model. ``outside``: keys of cells that do not keep the claim's
    limits, as they are known now. The version then has the claim as a tag, and the registered
    model a sentence, and a row in the table of its page. An alias of a grid marks one version in
    all: a grid of several models takes it from their other registered models. Raises TrackingError
    when there is no such version.
    """
    name = registered_name(model_name)
    newest_first = versions(client, name, cell_key)
    if not newest_first:
        raise TrackingError(
            f"registered model {name!r} has no version of cell {cell_key}: "
            "its checkpoint is not there"
        )
    version, present = newest_first[0], _present_holder(client, name, claim.alias)
    elsewhere = list(_holders_elsewhere(client, name, claim))
    before = present or next(iter(elsewhere), None)
    decision = decide_alias(claim, before and _holder(before, version, claim.alias, outside))
    if decision.moves:
        _give(client, version, claim, decision, before)
    holder = version if decision.moves else present
    changed = {name}
    if holder is not None:
        for each in elsewhere:
            _take(client, each, claim, holder)
            changed.add(each.name)
    for each_name in changed:
        _show_best(client, each_name)
    return decision


def _show_best(client: MlflowClient, name: str) -> None:
    """Let a registered model's page lead from each budget to the version that is best under it."""
    model = client.get_registered_model(name)
    marked = []
    for alias, number in model.aliases.items():
        version = client.get_model_version(name, number)
        claim = _read_claim(version.tags.get(_TAG + alias))
        if claim is not None:
            marked.append(Marked(alias, str(number), claim, version.description or ""))
    description = with_best(model.description or "", name, marked)
    if description != model.description:
        client.update_registered_model(name, description)


def _present_holder(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """Return the version that an alias marks; None where it marks none."""
    number = client.get_registered_model(name).aliases.get(alias)
    return client.get_model_version(name, number) if number is not None else None


def _holders_elsewhere(
    client: MlflowClient, name: str, claim: AliasClaim
) -> Iterator[ModelVersion]:
    """Yield the versions of other registered models that have the alias by the claim's grid."""
    tagged = f"tags.`{_TAG}{claim.alias}` LIKE '%'"
    for model in client.search_registered_models(tagged, max_results=1000):
        other = None if model.name == name else _present_holder(client, model.name, claim.alias)
        held = other and _read_claim(other.tags.get(_TAG + claim.alias))
        if other and held and held.grid == claim.grid:
            yield other


def _holder(
    present: ModelVersion, ours: ModelVersion, alias: str, outside: Collection[str] = ()
) -> AliasHolder:
    same = _id(present) == _id(ours)
    of = "" if present.name == ours.name else f" of {present.name}"
    claim = _read_claim(present.tags.get(_TAG + alias))
    keeps_limits = present.tags.get("trsp.cell") not in outside
    return AliasHolder(f"{present.version}{of}", same, claim, keeps_limits)


def _id(version: ModelVersion) -> tuple[str, str]:
    """Return what tells a version from all others: it is numbered per registered model."""
    return str(version.name), str(version.version)


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
    tag, when = _TAG + claim.alias, _now()
    before = _holder(present, version, claim.alias).version if present else None
    kept = asdict(claim) | {"when": when, "why": decision.reason, "version_before": before}
    client.set_model_version_tag(version.name, version.version, tag, redact(json.dumps(kept)))
    sentence = redact(_sentence(version, claim, decision, when))
    client.set_registered_model_tag(version.name, tag, sentence)
    client.set_registered_model_alias(version.name, claim.alias, version.version)
    if present and _id(present) != _id(version) and tag in present.tags:
        client.delete_model_version_tag(present.name, present.version, tag)


def _take(
    client: MlflowClient, loser: ModelVersion, claim: AliasClaim, holder: ModelVersion
) -> None:
    """Take the alias from a version of another registered model, which then says who has it."""
    tag = _TAG + claim.alias
    sentence = (
        f"none since {_now()}: version {holder.version} of {holder.name} has it; version "
        f"{loser.version} had it before"
    )
    client.delete_registered_model_alias(loser.name, claim.alias)
    client.set_registered_model_tag(loser.name, tag, sentence)
    if tag in client.get_model_version(loser.name, loser.version).tags:
        client.delete_model_version_tag(loser.name, loser.version, tag)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())


def _sentence(version: ModelVersion, claim: AliasClaim, decision: AliasDecision, when: str) -> str:
    """Return why the version has the alias, for people."""
    parts = [
        f"version {version.version} since {when}: best of grid {claim.grid!r}, {claim.score} with "
        f"{claim.budget}; {decision.reason}",
        f"runner-up: {claim.runner_up}" if claim.runner_up else "no runner-up",
        *claim.warnings,
    ]
    return "; ".join(parts)
