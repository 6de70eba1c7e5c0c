"""Every key of a grid file says in words what it is for, what it is by default, and shows a use."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from orchestrator.grid.reference.json_schema import json_schema
from orchestrator.grid.schema import Grid
from trsp.config import Settings

Key = tuple[type[Settings], str, FieldInfo]


def subclasses(kind: type[Settings]) -> Iterator[type[Settings]]:
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)


def keys() -> list[Key]:
    """Every key that the JSON Schema knows, with the type that it belongs to."""
    named = {"Grid", *json_schema()["$defs"]}
    kinds = [kind for kind in subclasses(Settings) if kind.__name__ in named]
    assert {kind.__name__ for kind in kinds} == named
    return [(kind, name, field) for kind in kinds for name, field in kind.model_fields.items()]


KEYS = keys()


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def names_the_method(field: FieldInfo) -> bool:
    """Whether the key is the ``name`` that says which selector or transfer is meant."""
    return str(field.annotation).startswith("typing.Literal") and field.examples is None


def accepted(kind: type[Settings], name: str, value: Any) -> bool:
    """Whether the key takes the value; what else the mapping lacks does not count."""
    try:
        kind.model_validate({name: value})
    except ValidationError as error:
        return not any(each["loc"][:1] == (name,) for each in error.errors())
    return True


def test_there_are_keys_to_look_at() -> None:
    assert len(KEYS) > 140
    assert Grid in {kind for kind, _, _ in KEYS}


def test_a_description_says_more_than_the_keys_name() -> None:
    for kind, name, field in KEYS:
        own = words(name.replace("_", " "))
        said = [word for word in words(field.description or "") if word not in own]
        assert len(said) >= 3, f"{kind.__name__}.{name}"


def test_a_key_that_may_be_left_open_says_what_holds_then() -> None:
    unsaid = [
        f"{kind.__name__}.{name}"
        for kind, name, field in KEYS
        if field.default in (None, "") and "default: " not in (field.description or "")
    ]
    assert not unsaid


def test_an_example_is_accepted_and_shows_another_value_than_the_default() -> None:
    for kind, name, field in KEYS:
        examples = field.examples or []
        assert examples or names_the_method(field), f"{kind.__name__}.{name}"
        for example in examples:
            assert accepted(kind, name, example), f"{kind.__name__}.{name}: {example}"
            assert example != field.default, f"{kind.__name__}.{name}"


def test_a_wrong_example_would_be_found() -> None:
    assert not accepted(Grid, "ratios", [1.5])
    assert not accepted(Grid, "calibration", {"text": {"name": "no source"}})


def test_every_type_says_what_it_is() -> None:
    assert not [kind.__name__ for kind, _, _ in KEYS if not (kind.__doc__ or "").strip()]
