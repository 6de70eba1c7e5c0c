"""Scores a model item by item: what the store holds is not computed again, what is new is kept.

An item is committed as soon as it is known: a stage that is killed goes on after it, and one that
fails keeps those before. Two drivers that evaluate the same checkpoint for different grids at the
same instant may compute one item twice, which costs time and nothing else.
"""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from orchestrator.execution.stage_task import RankContext
from orchestrator.execution.versions import merged, versions
from orchestrator.stages.score_items import score_items
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.store.rankings import what_is_wrong
from orchestrator.store.store import Store
from trsp.config import EvaluationSettings
from trsp.records import EvaluationRecord, ItemRecord


def evaluate_items(
    context: RankContext, load: Callable[[], tuple[Any, Any]]
) -> tuple[EvaluationRecord, dict[str, str]]:
    """Return the scores that an ``evaluate`` or ``dense`` stage is to commit, and their versions.

    ``load`` gives the model and its tokenizer, and is called only where an item is missing. The
    versions are those by which the items were computed, now or earlier.
    """
    from trsp.evaluation.items import assembled, item_names, prepared_items

    spec, store = context.task.spec, context.store
    settings = EvaluationSettings.model_validate(spec.locations["evaluation"])
    specs = score_items(spec)
    missing = [name for name, item in specs.items() if _known(store, item) is None]
    if missing:
        model, tokenizer = load()
        for name, compute in prepared_items(model, tokenizer, settings, missing).items():
            if _known(store, specs[name]) is None:  # another driver may have been faster
                computed = compute().model_dump(mode="json")
                store.stages.commit(specs[name], computed, versions=versions())
    items: dict[str, ItemRecord] = {}
    for name in item_names(settings):
        record = _known(store, specs[name])
        assert record is not None, f"item {name} was committed, and is gone"
        items[name] = record
    by = merged(store.stages.versions(specs[name].key) for name in items)
    return assembled(settings, items), by


def _known(store: Store, item: StageSpec) -> ItemRecord | None:
    """Return the item as the store holds it; None while it does not.

    UnreadableRecordError where what it holds is no item.
    """
    stored = store.stages.result(item.key)
    try:
        return ItemRecord.model_validate(stored) if stored else None
    except ValidationError as error:
        raise store.stages.unreadable(item.key, what_is_wrong(error)) from error
