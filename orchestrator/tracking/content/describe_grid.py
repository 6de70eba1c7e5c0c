"""What a grid's run says in MLflow: its progress, its answers, its tables and pictures. Pure."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

from orchestrator.pictures.album import Picture, grid_pictures
from orchestrator.pictures.output import png
from orchestrator.redact import redact_tree
from orchestrator.report.page.contents import Contents, contents
from orchestrator.report.page.render import html_page, markdown_page, now
from orchestrator.tracking.content.grid_note import Known, grid_note, known_answers, picture_path
from orchestrator.tracking.content.metrics import shown_metrics, shown_name
from orchestrator.tracking.content.run_tables import cells_table
from orchestrator.tracking.content.states import (
    Artifact,
    RunState,
    json_artifact,
    table_artifact,
)
from orchestrator.tracking.content.values import digest, reason_of
from orchestrator.views.grid_view import SETTLED, GridView, Status

PICTURE_DPI = 90  # MLflow shows a picture in a note as large as it is


def grid_state(view: GridView, experiment_id: str = "") -> RunState:
    """Return what a grid's run says. ``experiment_id``: MLflow's, for links to its pages."""
    done = sum(cell.status is Status.DONE for cell in view.cells)
    settings = redact_tree(view.settings)
    pictures = _pictures(view)
    return RunState(
        kind="grid",
        key=view.key,
        name=view.name,
        status=view.status,
        reason=reason_of(view),
        params={
            "models": ", ".join(dict.fromkeys(cell.cell.model.name for cell in view.cells)),
            "cells": str(len(view.cells)),
            "rankings": str(len(view.rankings)),
        },
        tags={"trsp.progress": f"{done} of {len(view.cells)} cells done"},
        finals=dict(_metrics(view)),
        artifacts=(
            table_artifact("cells.json", partial(cells_table, view)),
            json_artifact("grid.json", settings, digest(settings)),
            *_report(view),
            *(_drawn(picture, view) for picture in pictures),
        ),
        note=grid_note(view, experiment_id, pictures),
    )


def _pictures(view: GridView) -> tuple[Picture, ...]:
    """The pictures of a grid that is over, and was not stopped: drawing them takes seconds."""
    if view.status not in SETTLED or not view.metrics:
        return ()
    return tuple(grid_pictures(view, view.metrics, view.budgets))


def _report(view: GridView) -> Iterator[Artifact]:
    """Yield the report of a grid that is over, as MLflow shows it; its pictures take seconds."""
    if view.status in SETTLED and view.metrics:
        said = cache(partial(contents, view))
        yield Artifact("report.html", partial(_version, said), partial(_write_report, said))


def _version(said: Callable[[], Contents]) -> str:
    return digest(markdown_page(said(), written=""))


def _write_report(said: Callable[[], Contents], target: Path) -> None:
    target.write_text(html_page(said(), now()), encoding="utf-8")


def _drawn(picture: Picture, view: GridView) -> Artifact:
    return Artifact(
        picture_path(picture), partial(_numbers_digest, view), partial(_write_picture, picture)
    )


def _write_picture(picture: Picture, target: Path) -> None:
    target.write_bytes(png(picture.draw(), PICTURE_DPI))


def _numbers_digest(view: GridView) -> str:
    """A digest of all that the pictures show."""
    numbers = [(part.metrics(), part.status) for part in view.parts]
    return digest([numbers, view.metrics, [budget.limits for budget in view.budgets]])


def _metrics(view: GridView) -> Iterator[tuple[str, float]]:
    """Yield the scores of each budget's best and of the unpruned model, then counts of cells."""
    for choice in known_answers(Known.of(view)):
        numbers = shown_metrics(choice.best) if choice.best else {}
        for name in (choice.metric, *choice.budget.limits):
            if shown_name(name) in numbers:
                yield f"{choice.budget.alias}/{shown_name(name)}", numbers[shown_name(name)]
    if len(view.dense) == 1:
        numbers = shown_metrics(view.dense[0])
        yield from ((f"dense/{name}", numbers[name]) for name in view.metrics if name in numbers)
    for status in (Status.DONE, Status.FAILED):
        yield f"cells/{status}", sum(cell.status is status for cell in view.cells)
