"""What a command looks at, without a store: a view in place of what the store would give."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator import run, watching
from orchestrator.coordination.news import DriverNews
from orchestrator.grid.schema import Grid, load_grid
from orchestrator.kept_grids import lookup
from orchestrator.stages.resolve import Resolved, resolved_of
from orchestrator.views.grid_view import GridView
from orchestrator.watching import Seen


def looks_at(monkeypatch: pytest.MonkeyPatch, view: Callable[[Grid], GridView]) -> None:
    """Let commands see this view of every grid file, whose models and texts need not exist."""

    def look_up(which: str, *_: object) -> Resolved:
        return resolved_of(load_grid(Path(which)), {}, "", {}, {})

    monkeypatch.setattr(lookup, "look_up", look_up)
    monkeypatch.setattr(run, "view_of", lambda resolved: view(resolved.grid))
    monkeypatch.setattr(watching, "GridWatch", lambda resolved: _Looks(view(resolved.grid)))


@dataclass(frozen=True)
class _Looks:
    """A watch that sees one view, of a grid that nobody drives."""

    view: GridView

    def look(self) -> Seen:
        return Seen(self.view, DriverNews(), driven=False)
