"""cluster.yaml is one that `ray up` would take: Ray's own validation, and what that overlooks."""

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray import autoscaler
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))


def provider_keys() -> set[str]:
    schema = json.loads(
        (Path(autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8")
    )
    return set(schema["properties"]["provider"]["properties"])


def oversights(cluster: dict[str, Any]) -> list[str]:
    """Return the mistakes that Ray's validation lets pass."""
    found = [] if cluster.get("cluster_name") else ["no cluster_name"]
    found += [f"unknown provider key {key}" for key in cluster["provider"].keys() - provider_keys()]
    for name, node in cluster["available_node_types"].items():
        if node.get("min_workers", 0) > node.get("max_workers", cluster["max_workers"]):
            found.append(f"{name}: min_workers above max_workers")
    return found


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(deepcopy(cluster)))


def test_ray_refuses_a_broken_one(cluster: dict[str, Any]) -> None:
    cluster["head_node_type"] = "nobody"
    with pytest.raises(ValueError, match="head_node_type"):
        validate_config(prepare_config(cluster))


def test_nothing_that_ray_overlooks(cluster: dict[str, Any]) -> None:
    assert oversights(cluster) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("cluster_name",), ""),
        (("provider", "regoin"), "x"),
        (("available_node_types", "a100", "min_workers"), 9),
    ],
)
def test_the_overlooked_would_be_seen(
    cluster: dict[str, Any], path: tuple[str, ...], value: object
) -> None:
    inner = cluster
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert len(oversights(cluster)) == 1


def test_the_image_has_the_ray_of_the_constraints(cluster: dict[str, Any]) -> None:
    pinned = re.search(
        r"^ray(?:\[[^]]*\])?==(\S+)",
        (ROOT / "constraints.txt").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert pinned
    assert f"ray:{pinned[1]}-" in cluster["docker"]["image"]
