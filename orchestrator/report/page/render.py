"""A report as HTML, one file that loads nothing, and as Markdown. Knows no store and no MLflow."""

import base64
import re
import time
from functools import cache
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.pictures.album import Picture
from orchestrator.pictures.output import svg
from orchestrator.pictures.theme import DARK, LIGHT, css_variables
from orchestrator.report.page.contents import Contents

_TEMPLATES = Path(__file__).parent / "templates"
_SPECIAL = re.compile(r"([\\`*\[\]|])")  # characters that Markdown may read as its own
_SECTIONS = {
    "answers": "Best",
    "failures": "Failures",
    "pictures": "Pictures",
    "cells": "Cells",
    "rankings": "Rankings",
    "costs": "What it took",
    "origins": "Where it comes from",
}


def html_page(report: Contents, written: str) -> str:
    """Return the report as an HTML page, its style, script and pictures within.

    The page's own policy forbids it to load anything and to run any other script. ``written``: when
    the store was read, for people.
    """
    script = _file("page.js")
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    return (
        _environment(html=True)
        .get_template("page.html.j2")
        .render(
            report=report,
            written=written,
            sections=_sections(report),
            drawn=_drawn,
            light=Markup(css_variables(LIGHT)),
            dark=Markup(css_variables(DARK)),
            style=Markup(_file("page.css")),
            script=Markup(script),
            script_hash=f"sha256-{digest}",
        )
    )


def markdown_page(report: Contents, written: str) -> str:
    """Return the report as Markdown, without its pictures."""
    template = _environment(html=False).get_template("page.md.j2")
    return template.render(report=report, written=written)


def now() -> str:
    """Return the present time as pages show it."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())


def _sections(report: Contents) -> list[tuple[str, str]]:
    """Return the anchors and titles of the sections that the page has."""
    absent = {name for name in ("answers", "failures", "pictures") if not getattr(report, name)}
    return [(name, title) for name, title in _SECTIONS.items() if name not in absent]


def _drawn(picture: Picture) -> Markup:
    """Return a picture as an element of the page; its SVG is ours, and escapes the names in it."""
    element = svg(picture.draw(), picture.name)
    return Markup(element.replace("<svg", '<svg role="img"', 1))


@cache
def _environment(html: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = _markdown_text
    return environment


def _markdown_text(text: object) -> str:
    """Return a text as Markdown shows it: on one line, with nothing that would be markup."""
    line = " ".join(str(text).split())
    return _SPECIAL.sub(r"\\\1", line).replace("<", "&lt;").replace(">", "&gt;")


def _file(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")
