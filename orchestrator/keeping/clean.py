"""Removing what people have agreed to, decided once more at that moment."""

from dataclasses import replace

from orchestrator.keeping.survey import Asked, Survey, survey
from orchestrator.keeping.sweep import Sweep, Swept, forget_grids
from orchestrator.store.store import Store


def clean(store: Store, asked: Asked, shown: Survey) -> Swept:
    """Remove what ``shown`` says that nobody needs, and still nobody does; return what came of it.

    People may have thought about it for hours. A grid that is forgotten is so first of all: whoever
    runs it again meanwhile is seen as a new one. OSError where the store cannot be written.
    """
    now = survey(store, replace(asked, forget=shown.forgotten))
    forget_grids(store, now.forgotten)
    seen = now.seen - {f"grids/{key}.json" for key in now.forgotten}
    return Sweep(store, seen).remove(now.decision.only(shown.decision).removals)
