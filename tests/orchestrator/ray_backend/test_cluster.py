"""What kind of accelerator speed is measured on, by what a cluster's nodes have."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.layouts.capacity import Capacity
from orchestrator.ray_backend import cluster
from trsp.errors import InvalidInputError
from trsp.evaluation.hardware import is_cpu, is_same_kind


def node(kind: str = "", gpus: int = 0, alive: bool = True) -> dict[str, Any]:
    resources = {"CPU": 8.0, **({f"accelerator_type:{kind}": 1.0, "GPU": gpus} if kind else {})}
    return {"Alive": alive, "NodeID": kind, "Resources": resources}


@pytest.fixture
def mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of two A100 nodes of 4, one H100 node of 8 that is alive and one that is not."""
    nodes = [node(), node("A100", 4), node("A100", 5), node("H100", 8), node("H100", 8, False)]
    monkeypatch.setattr("ray.nodes", lambda: nodes)


@pytest.mark.usefixtures("mixed")
def test_speed_is_measured_on_the_kind_there_is_most_of() -> None:
    assert cluster.gpus_by_type() == {"A100": 9, "H100": 8}
    assert cluster.cluster_hardware(with_gpus=True) == "A100"


@pytest.mark.usefixtures("mixed")
def test_another_kind_is_measured_on_where_the_grid_asks_for_it() -> None:
    assert cluster.cluster_hardware(with_gpus=True, asked="H100") == "H100"


def test_of_kinds_as_common_the_first_by_name_counts() -> None:
    assert cluster.commonest_type({"H100": 8, "A100": 8}) == "A100"
    assert cluster.commonest_type({}) == ""


@pytest.mark.usefixtures("mixed")
def test_a_kind_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidInputError, match=r"measure_on: unknown .* 'H10': .*A100, H100"):
        cluster.cluster_hardware(with_gpus=True, asked="H10")


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize("kind", ["B200", ""], ids=["of that kind", "of a kind not known yet"])
def test_a_kind_that_is_not_there_yet_is_waited_for_where_nodes_come(kind: str) -> None:
    coming = [Capacity(8, 8, gpu_type=kind)]
    assert cluster.cluster_hardware(with_gpus=True, asked="B200", coming=coming) == "B200"


@pytest.mark.usefixtures("mixed")
def test_the_kind_there_is_most_of_counts_those_that_come() -> None:
    coming = [Capacity(8, 8, gpu_type="H100")]
    assert cluster.cluster_hardware(with_gpus=True, coming=coming) == "H100"


def test_gpus_that_come_and_are_of_no_known_kind_are_named_as_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not as the head's CPU, on which no stage would then measure."""
    monkeypatch.setattr("ray.nodes", lambda: [node()])
    hardware = cluster.cluster_hardware(with_gpus=True, coming=[Capacity(8, 8)])
    assert is_same_kind(hardware, "NVIDIA H100 80GB HBM3")
    assert not is_cpu(hardware)


@pytest.mark.usefixtures("mixed")
def test_a_kind_that_can_come_can_be_asked_for_before_it_does() -> None:
    types = cluster.AcceleratorTypes()
    types.see(["B200", ""])
    assert types.named("B200") == "B200"


@pytest.mark.usefixtures("mixed")
def test_a_kind_whose_nodes_are_lost_is_still_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else Ray would measure on another kind, which the stage refuses for good."""
    types = cluster.AcceleratorTypes()
    assert types.named("H100") == "H100"
    monkeypatch.setattr("ray.nodes", lambda: [node("A100", 4)])
    assert types.named("H100") == "H100"


@pytest.mark.usefixtures("mixed")
def test_no_kind_is_asked_for_where_ray_has_none_of_that_name() -> None:
    assert cluster.AcceleratorTypes().named("AMD EPYC, 2 threads") is None
    assert cluster.AcceleratorTypes(asked="B200").named("B200") == "B200"


@pytest.mark.usefixtures("mixed")
def test_without_gpus_a_kind_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no accelerators"):
        cluster.cluster_hardware(with_gpus=False, asked="H100")


def test_where_stages_have_no_gpus_speed_is_that_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also on a driver's machine that has a GPU: none of the stages sees it."""
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu" / "information").write_text("Model: NVIDIA H100 80GB HBM3\n")
    monkeypatch.setattr("trsp.evaluation.hardware._GPUS", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("ray.nodes", lambda: [node()])
    assert is_cpu(cluster.cluster_hardware(with_gpus=False))
    assert cluster.cluster_hardware(with_gpus=True) == "NVIDIA H100 80GB HBM3"
