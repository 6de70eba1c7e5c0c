"""From a YAML file to plain data, and from pydantic's errors to sentences. Does not know what a grid is."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from trsp.errors import InvalidInputError, unknown_name

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_TAG_NAMES = {"selectors": "selector", "transfer": "transfer"}


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice instead of silently keeping the last one."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
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


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# PyYAML knows YAML 1.1, where 1e-4 is text; people and editors go by 1.2, where it is a number.
_POWER_OF_TEN = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _POWER_OF_TEN, list("-+0123456789"))


def read_yaml(path: Path) -> dict[str, Any]:
    """The file's mapping, or InvalidInputError saying where it stops being one."""
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


def expand_text(text: str, environment: Mapping[str, str] | None = None) -> str:
    """``${VAR}``, ``${VAR:-default}`` and a leading ``~/`` replaced; ValueError for a variable that is not set."""
    known = os.environ if environment is None else environment

    def replace(match: re.Match[str]) -> str:
        value = known.get(match[1]) or match[2]
        if value is None:
            raise ValueError(
                f"${{{match[1]}}} is not set; export it, or write ${{{match[1]}:-default}}"
            )
        return os.path.expanduser(value)

    return os.path.expanduser(_VARIABLE.sub(replace, text))


def expand(data: Any, path: Path, at: str = "") -> Any:
    """The same data with every string expanded; InvalidInputError names the place."""
    if isinstance(data, dict):
        return {
            key: expand(value, path, f"{at}.{key}" if at else str(key))
            for key, value in data.items()
        }
    if isinstance(data, list):
        return [expand(value, path, f"{at}[{i}]") for i, value in enumerate(data)]
    if not isinstance(data, str):
        return data
    try:
        return expand_text(data)
    except ValueError as error:
        raise InvalidInputError(f"{path}: {at}: {error}") from None


def place(location: Iterable[int | str]) -> str:
    """``('selectors', 0, 'gates', 'preset')`` -> ``selectors[0].gates.preset``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def explain(error: ValidationError, path: Path | str) -> str:
    """One line a mistake: the file, the place, what came, what is allowed."""
    lines = []
    for mistake in error.errors():
        where = place(mistake["loc"])
        lines.append(": ".join(part for part in (str(path), where, _sentence(mistake)) if part))
    return "\n".join(lines)


def _sentence(mistake: Any) -> str:
    context = mistake.get("ctx", {})
    match mistake["type"]:
        case "value_error":
            return str(context["error"])
        case "missing":
            return "is missing; give it a value"
        case "union_tag_invalid":
            known = re.findall(r"'([^']*)'", context["expected_tags"])
            return unknown_name(
                _TAG_NAMES.get(str(mistake["loc"][0]), "name"), context["tag"], known
            )
        case "union_tag_not_found":
            return "is missing its 'name'"
        case "literal_error":
            return f"{mistake['input']!r} is not allowed; allowed are {context['expected']}"
        case _:
            return f"{mistake['msg']}; {mistake['input']!r} came"
