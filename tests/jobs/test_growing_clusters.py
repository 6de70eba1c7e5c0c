"""jobs/grid.yaml fits the clusters that this repository describes, before any worker is there."""

from copy import deepcopy
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config

from orchestrator.execution.launcher import InProcessLauncher
from orchestrator.grid.schema import Grid, load_grid
from orchestrator.layouts.capacity import Capacity, fits
from orchestrator.layouts.estimate import layout_for
from orchestrator.layouts.layout import Layout
from orchestrator.ray_backend.cluster import resources_capacity
from orchestrator.ray_backend.growth.limits import config_of_ray_cluster
from orchestrator.ray_backend.growth.node_types import types_of_config
from orchestrator.ray_backend.potential import Growth
from orchestrator.run import require_capacity
from tests.orchestrator.layouts.test_estimate import B7, TRAIN
from tests.rooms import ROOT
from trsp.errors import InvalidInputError

GRID = ROOT / "jobs" / "grid.yaml"


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> Grid:
    monkeypatch.setenv("TRSP_HOME", "/home")
    return load_grid(GRID)


def read(*path: str) -> dict[str, Any]:
    return yaml.safe_load(ROOT.joinpath(*path).read_text(encoding="utf-8"))


def virtual_machines() -> dict[str, Any]:
    return prepare_config(deepcopy(read("cluster.yaml")))


def kubernetes() -> dict[str, Any]:
    spec = read("deploy", "rayjob.yaml")["spec"]["rayClusterSpec"]
    cluster = {"metadata": {"name": "trsp", "namespace": "default"}, "spec": spec}
    return dict(config_of_ray_cluster(cluster) or {})


def before_any_worker(config: dict[str, Any]) -> InProcessLauncher:
    """A launcher on the head alone, which may become what the config says."""
    head = resources_capacity(
        config["available_node_types"][config["head_node_type"]]["resources"], True
    )
    growth = Growth(read=lambda: types_of_config(config))
    launcher = InProcessLauncher(Capacity.of([head, *growth.coming(head, with_gpus=True)]))
    assert not fits(head, Layout(gpus=1))
    return launcher


@pytest.mark.parametrize("config", [virtual_machines, kubernetes])
def test_the_cluster_can_become_large_enough_for_the_study(config: Any, grid: Grid) -> None:
    launcher = before_any_worker(config())
    require_capacity(launcher, grid.resources, GRID)
    most = launcher.potential()
    assert most.gpus == 32
    layout = layout_for(TRAIN, B7, most, grid.resources, grid.engine)
    assert isinstance(layout, Layout)
    assert fits(most, layout)


def test_where_no_workers_may_come_the_study_is_refused_with_what_there_is(grid: Grid) -> None:
    config = virtual_machines() | {"max_workers": 0}
    with pytest.raises(InvalidInputError, match=r"takes 1 GPU, 8 CPUs, .* can become has 4 CPUs;"):
        require_capacity(before_any_worker(config), grid.resources, GRID)
