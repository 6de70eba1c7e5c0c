"""What a key of a grid file takes, in words, from its part of the JSON Schema."""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
_PLAIN = {"string": "text", "boolean": "`true` or `false`"}
_BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "from",
    "exclusiveMaximum": "below",
    "maximum": "up to",
}
_MANY = {"text": "texts", "number": "numbers", "[a mapping]": "[mappings]", "a list of": "lists of"}


def referred(schema: Schema) -> Iterator[str]:
    """Yield the names of the types that a part of the schema refers to, each once, in order."""
    seen: dict[str, None] = {}

    def visit(part: Any) -> None:
        if isinstance(part, Mapping):
            if "$ref" in part:
                seen[part["$ref"].rsplit("/", 1)[-1]] = None
            for name, each in part.items():
                if name not in ("default", "examples", "description", "discriminator"):
                    visit(each)
        elif isinstance(part, list):
            for each in part:
                visit(each)

    visit(schema)
    yield from seen


def type_text(schema: Schema, links: Mapping[str, str]) -> str:
    """Return what a key takes: ```l2` or `l1```, ``whole number above 0``, ``a list of texts``.

    ``links``: the Markdown that stands for each type that is referred to.
    """
    found = list(dict.fromkeys(_alternatives(schema, links)))
    if "number" in found and "whole number" in found:
        found.remove("whole number")
    linked = [each.partition("]")[0][1:] for each in found if each.startswith("[")]
    found = [each for each in found if each not in linked]  # a bare name beside its link
    return " or ".join([", ".join(found[:-1]), found[-1]] if found[1:] else found)


def _alternatives(schema: Schema, links: Mapping[str, str]) -> Iterator[str]:
    if options := schema.get("anyOf") or schema.get("oneOf"):
        yield from _of_options(options, links)
    elif "enum" in schema:
        yield from (f"`{each}`" for each in schema["enum"])
    elif "const" in schema:
        yield f"`{schema['const']}`"
    elif "$ref" in schema:
        yield links[schema["$ref"].rsplit("/", 1)[-1]]
    else:
        yield _of_type(schema, links)


def _of_options(options: list[Schema], links: Mapping[str, str]) -> Iterator[str]:
    """Yield what one of several may be, null left out; a list of what stands beside it comes last.

    What null means is said as the default.
    """
    given = [each for each in options if each.get("type") != "null"]
    lists = [each for each in given if each.get("type") == "array"]
    alone = [each for each in given if each not in lists]
    for each in alone:
        yield from _alternatives(each, links)
    for each in lists:
        items = each["items"]
        these = items in alone or items.get("anyOf") == alone
        these = these or bool({*referred(items)} & {*referred({"of": alone})})
        yield "a list of these" if these else _of_type(each, links)


def _of_type(schema: Schema, links: Mapping[str, str]) -> str:
    kind = schema.get("type")
    if kind == "array":
        items = type_text(schema["items"], links)
        for one, many in _MANY.items():
            if items.startswith(one):
                items = many + items.removeprefix(one)
        return f"a list of {items}"
    if kind == "object":
        return f"names, each with a {type_text(schema['additionalProperties'], links)}"
    if kind in ("integer", "number"):
        words = ["whole number" if kind == "integer" else "number"]
        words += [f"{word} {schema[name]:g}" for name, word in _BOUNDS.items() if name in schema]
        return " ".join(words)
    return _PLAIN[str(kind)]
