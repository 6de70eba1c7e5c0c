"""Scores a model item by item: what the store holds is not computed again, what is new is kept.

An item is committed as soon as it is known: a stage that is killed goes on after it, and one that
fails keeps those before. Two drivers that evaluate the same checkpoint for different grids at the
same instant may compute one item twice, which costs time and nothing else.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from orchestrator.execution.stage_task import RankContext
from orchestrator.execution.versions import merged, versions
from orchestrator.stages.score_items import score_items
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.store.rankings import what_is_wrong
from orchestrator.store.store import Store
from trsp.config import EvaluationSettings
from trsp.errors import PreemptedError
from trsp.progress_lines import part_of
from trsp.records import EvaluationRecord, ItemRecord

Item = tuple[ItemRecord, Mapping[str, str]]  # and the versions by which it was computed


def evaluate_items(
    context: RankContext, load: Callable[[], tuple[Any, Any]]
) -> tuple[EvaluationRecord, dict[str, str]]:
    """Return the scores that an ``evaluate`` or ``dense`` stage is to commit, and their versions.

    ``load`` gives the model and its tokenizer, and is called only where an item is missing. The
    versions are those by which the items were computed, now or earlier.
    """
    from trsp.evaluation.items import assembled, prepared_items

    spec, store = context.task.spec, context.store
    settings = EvaluationSettings.model_validate(spec.locations["evaluation"])
    specs = score_items(spec)
    found = {name: _known(store, item) for name, item in specs.items()}
    missing = [name for name, known in found.items() if known is None]
    if missing:
        model, tokenizer = load()
        items = prepared_items(model, tokenizer, settings, missing)
        found |= _computed(context, specs, items)
    known = {name: item for name, item in found.items() if item is not None}
    records = {name: record for name, (record, _) in known.items()}
    return assembled(settings, records), merged(by for _, by in known.values())


def _computed(
    context: RankContext,
    specs: Mapping[str, StageSpec],
    items: Mapping[str, Callable[[], ItemRecord]],
) -> dict[str, Item]:
    """Compute the items, and commit each as soon as the checkpoint is; return them by name."""
    found: dict[str, Item] = {}
    waiting: list[str] = []
    try:
        for name, compute in items.items():
            _check_stays(context, len(found), len(items))
            known = _known(context.store, specs[name])  # another driver may have been faster
            number = f"{len(found) + 1} of {len(items)}"
            with part_of(f"{name} ({number})" if len(items) > 1 else name):
                found[name] = known or (compute(), versions())
            waiting += [] if known else [name]
            if context.may_publish():
                _publish(context, specs, found, waiting)
    except Exception:
        _publish(context, specs, found, waiting)
        raise
    _publish(context, specs, found, waiting)
    return found


def _check_stays(context: RankContext, done: int, items: int) -> None:
    """Raise PreemptedError where a chain's process was told to go: what is computed is kept.

    SIGTERM does not end such a process, which has asked for it between its stages; any other is
    ended by it at once.
    """
    if done and context.handover is not None and context.leaving():
        raise PreemptedError(f"told to leave, after {done} of {items} items, which are kept")


def _publish(
    context: RankContext,
    specs: Mapping[str, StageSpec],
    found: Mapping[str, Item],
    waiting: list[str],
) -> None:
    """Commit the items whose names wait, once that may be."""
    context.may_publish(wait=True)
    while waiting:
        record, by = found[waiting[0]]
        context.store.items.commit(specs[waiting[0]], record.model_dump(mode="json"), by)
        del waiting[0]


def _known(store: Store, item: StageSpec) -> Item | None:
    """Return the item as the store holds it, and its versions; None while it does not.

    UnreadableRecordError where what it holds is no item.
    """
    stored = store.stages.stored(item.key)
    if stored is None:
        return None
    try:
        return ItemRecord.model_validate(stored["record"]), stored.get("versions", {})
    except ValidationError as error:
        raise store.stages.unreadable(item.key, what_is_wrong(error)) from error
