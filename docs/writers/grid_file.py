"""Writes the reference of grid files: every key, what it takes, its default and an example."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from docs.writers.value_types import referred, type_text
from orchestrator.grid.reference.json_schema import json_schema
from trsp.config import Settings

HEAD = """# Every key of a grid file

A grid file is YAML. Only `models` and `calibration` have to be there; all else has a default. A
key that does not exist is answered with the nearest that does, and an editor that reads the JSON
Schema (`trsp schema`) completes keys. Which ones to begin with: [from zero on a
laptop](../guides/laptop.md); which values: [lambda and ratio](../guides/lambda_and_ratio.md).

This page is written by `python -m docs.write_reference`, from the types themselves.
"""
TOP = "The file"
_EMPTY = {"{}": "all defaults", "[]": "none"}
_PAGE = re.compile(r"docs/([a-z_]+\.md)")


def grid_file_page() -> str:
    """Return the page, as Markdown."""
    schema = json_schema()
    types = {"Grid": schema, **schema["$defs"]}
    titles = _titles(types)
    links = {
        name: f"[{_chosen(types[name]) or 'a mapping'}](#{_slug(title)})"
        for name, title in titles.items()
    }
    kinds = {kind.__name__: kind for kind in _subclasses(Settings)}
    sections = (_section(titles[name], types[name], kinds[name], links) for name in titles)
    return "\n".join([HEAD, *sections])


def _subclasses(kind: type[Settings]) -> Iterator[type[Settings]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _subclasses(each)


def _titles(types: Mapping[str, Any]) -> dict[str, str]:
    """Return the heading of each type, in the order of the page: the places where it is written.

    Of types that share a place, what tells them apart is added.
    """
    places: dict[str, list[str]] = {"Grid": []}

    def visit(name: str, path: str) -> None:
        for key, part in types[name].get("properties", {}).items():
            for each in referred(part):
                place = ": ".join(filter(None, (f"`{path}{key}`", _chosen(types[each]))))
                known = places.setdefault(each, [])
                if place not in known:
                    known.append(place)
                    if each != "Combination":  # whose keys are the grid's own
                        visit(each, f"{path}{key}.")

    visit("Grid", "")
    return {name: ", ".join(found) or TOP for name, found in places.items()}


def _chosen(schema: Mapping[str, Any]) -> str:
    """Return what chooses a type among others: the value of its ``name``, or its only key."""
    properties = schema["properties"]
    if "name" in properties:
        chosen = properties["name"].get("const", "")
    else:
        chosen = next(iter(properties)) if len(properties) == 1 else ""
    return f"`{chosen}`" if chosen else ""


def _slug(title: str) -> str:
    """Return the anchor of a heading, as both GitHub and the site's generator make it."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _section(
    title: str, schema: Mapping[str, Any], kind: type[Settings], links: Mapping[str, str]
) -> str:
    """Return one type: what it is, and a row per key."""
    rows = [
        _row(name, part, kind.model_fields[name], links)
        for name, part in schema["properties"].items()
    ]
    said = _cell(str(schema["description"]).replace("``", "`")).replace("\\|", "|")
    head = ["| key | what it does | default | example |", "|---|---|---|---|"]
    return "\n".join([f"## {title}", "", said, "", *head, *rows, ""])


def _row(name: str, schema: Mapping[str, Any], field: FieldInfo, links: Mapping[str, str]) -> str:
    description, default = _default(field)
    what = f"{description}. *{type_text(schema, links)}*"
    example = field.examples[0] if field.examples else schema.get("const")
    return f"| `{name}` | {_cell(what)} | {_cell(default)} | `{name}: {_cell(_yaml(example))}` |"


def _default(field: FieldInfo) -> tuple[str, str]:
    """Return the description without what it says of the default, and the default, as Markdown."""
    said, mark, rest = (field.description or "").partition("default: ")
    said = said.rstrip(" ;")
    if mark:
        words, stop, more = rest.partition(". ")
        return (f"{said}. {more}" if stop and said else said or more or words), words
    if field.is_required():
        return said, "must be given"
    value = _plain(field.get_default(call_default_factory=True))
    return said, _EMPTY.get(repr(value), f"`{_yaml(value)}`")


def _plain(value: Any) -> Any:
    """Return a default as people would write it: settings by what they change, names bare."""
    if isinstance(value, Settings):
        usual = type(value).model_validate({})
        changed = {
            name: _plain(each)
            for name, each in value
            if name == "name" or each != getattr(usual, name)
        }
        return changed["name"] if changed.keys() == {"name"} else changed
    if isinstance(value, tuple | list):
        return _plain(value[0]) if len(value) == 1 else [_plain(each) for each in value]
    return value


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
    return text.removesuffix("...\n").strip()


def _cell(text: str) -> str:
    """Return a text that stays within a cell of a table."""
    return _PAGE.sub(r"[\1](../\1)", " ".join(text.replace("|", "\\|").split()))
