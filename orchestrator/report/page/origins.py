"""Where a grid's numbers come from: models, texts, hardware, versions, and the grid file."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from orchestrator.redact import redact, redact_tree
from orchestrator.report.page.tables import Column, PageTable, text
from orchestrator.views.grid_view import GridView
from orchestrator.views.versions import shown_versions


def origin_table(view: GridView) -> PageTable:
    """Return a row per thing that the numbers rest on; nothing secret is shown."""
    rows = [(name, redact(value)) for name, value in _origins(view)]
    columns = (Column("what"), Column("which", wide=True))
    return PageTable(columns, tuple((text(name), text(value)) for name, value in rows))


def grid_file(view: GridView) -> str:
    """Return the resolved settings of a grid as YAML, defaults included, without secrets.

    What is not set is left out.
    """
    settings = _set(redact_tree(view.settings))
    return str(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100))


def _set(settings: Any) -> Any:
    """Return the settings without those that are None."""
    if isinstance(settings, Mapping):
        return {name: _set(value) for name, value in settings.items() if value is not None}
    return [_set(each) for each in settings] if isinstance(settings, list) else settings


def _origins(view: GridView) -> Iterator[tuple[str, str]]:
    yield "grid", view.key
    for dense in view.dense:
        model = dense.model
        yield "model", f"{model.name}: {model.source}, {model.revision or model.fingerprint}"
    yield from _texts(view.settings)
    for hardware in sorted(_hardware(view)):
        yield "speed measured on", hardware
    for versions in dict.fromkeys(_versions(view)):
        yield "computed with", versions


def _texts(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    calibration, evaluation = settings.get("calibration") or {}, settings.get("evaluation") or {}
    if text_ := calibration.get("text"):
        yield "calibration text", _text(text_)
    for each in evaluation.get("perplexity", ()):
        yield "evaluation text", _text(each["text"])
    if benchmarks := evaluation.get("benchmarks"):
        limit = benchmarks.get("limit")
        items = f", {limit} items each" if limit else ""
        yield "benchmarks", f"{', '.join(benchmarks['tasks'])}{items}"


def _text(text_: Mapping[str, Any]) -> str:
    """Return a text's name, and where it is from: a file, or a dataset of the hub."""
    place = ("path",) if text_.get("path") else ("dataset", "config", "split", "revision")
    parts = (text_.get(key) for key in place)
    return f"{text_.get('name')}: {' '.join(str(part) for part in parts if part)}"


def _hardware(view: GridView) -> set[str]:
    return {part.measurement.hardware for part in view.parts if part.measurement}


def _versions(view: GridView) -> Iterator[str]:
    for part in view.parts:
        shown = ", ".join(f"{name} {text}" for name, text in shown_versions(part.versions).items())
        if shown:
            yield shown
