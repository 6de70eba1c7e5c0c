"""From a YAML file to plain data, and from pydantic's errors to sentences. Knows no grid."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from orchestrator.grid.locations import expand_text_variables
from trsp.errors import InvalidInputError, unknown_name

# What the ``name`` of an item is called in an error, by the axis that the item stands in.
_TAG_NAMES = {"selectors": "selector", "transfer": "transfer"}


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice instead of silently keeping the last one."""


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    """Return the mapping of a YAML node; MarkedYAMLError for a key that is given twice."""
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.MarkedYAMLError(
                problem=f"key {key!r} is given twice", problem_mark=key_node.start_mark
            )
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)
# PyYAML knows YAML 1.1, where 1e-4 is text; people and editors go by 1.2, where it is a number.
_POWER_OF_TEN = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _POWER_OF_TEN, list("-+0123456789"))


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the file's mapping. InvalidInputError says where the file stops being one."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise InvalidInputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: cannot be read as text: {error}") from None
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise InvalidInputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        came = "nothing" if data is None else f"a {type(data).__name__}"
        raise InvalidInputError(
            f"{path}: not a grid: a mapping with the key 'models' is wanted, {came} came"
        )
    return data


def expand_variables(data: Any, path: Path, at: str = "") -> Any:
    """Return plain data with the variables of every string expanded.

    ``path`` and ``at`` (the place within the file) are for the message of InvalidInputError.
    """
    if isinstance(data, dict):
        return {
            key: expand_variables(value, path, f"{at}.{key}" if at else str(key))
            for key, value in data.items()
        }
    if isinstance(data, list):
        return [expand_variables(value, path, f"{at}[{i}]") for i, value in enumerate(data)]
    if not isinstance(data, str):
        return data
    try:
        return expand_text_variables(data)
    except ValueError as error:
        raise InvalidInputError(f"{path}: {at}: {error}") from None


def explain(error: ValidationError, path: Path | str) -> str:
    """Return one line per mistake: the file, the place, what came, what is allowed."""
    lines = []
    for mistake in error.errors():
        parts = (str(path), _place(mistake["loc"]), _sentence(mistake))
        lines.append(": ".join(part for part in parts if part))
    return "\n".join(lines)


def _place(location: Iterable[int | str]) -> str:
    """Write ``('selectors', 0, 'gates', 'preset')`` as ``selectors[0].gates.preset``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif text:
            text += f".{part}"
        else:
            text = part
    return text


def _sentence(mistake: Any) -> str:
    """Return what one of pydantic's ``ErrorDetails`` says, in this project's words."""
    context = mistake.get("ctx", {})
    match mistake["type"]:
        case "value_error":
            return str(context["error"])
        case "missing":
            return "is missing; give it a value"
        case "union_tag_invalid":
            known = re.findall(r"'([^']*)'", context["expected_tags"])
            kind = _TAG_NAMES.get(str(mistake["loc"][0]), "name")
            return unknown_name(kind, context["tag"], known)
        case "union_tag_not_found":
            return "is missing its 'name'"
        case "literal_error":
            return f"{mistake['input']!r} is not allowed; allowed are {context['expected']}"
        case _:
            return f"{mistake['msg']}; {mistake['input']!r} came"
