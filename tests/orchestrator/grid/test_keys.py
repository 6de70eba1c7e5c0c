"""Content keys: one text for one value, and a hash that any other program computes."""

import pytest

from orchestrator.grid.keys import canonical_json, content_key


def test_canonical_json_does_not_depend_on_the_order_of_keys_and_refuses_nan() -> None:
    assert (
        canonical_json({"b": 1, "a": [1, 2]})
        == canonical_json({"a": [1, 2], "b": 1})
        == '{"a":[1,2],"b":1}'
    )
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


def test_a_content_key_names_its_kind() -> None:
    key = content_key("rank", {"a": 1})
    assert key.startswith("rank-")
    assert len(key) == len("rank-") + 24
    assert (
        key == "rank-015abd7f5cc57a2dd94b7590"
    )  # the sha256 of {"a":1}, as any other program computes it
