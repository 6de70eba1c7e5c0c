"""What ``trsp doctor`` asks of a real cluster: each node's software, and a gang's sum."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from orchestrator.doctor.cluster_checks import by_name, check_all_reduce
from orchestrator.doctor.findings.finding import Verdict
from orchestrator.doctor.findings.nodes import versions
from orchestrator.doctor.probes.node_probe import node_state, software
from orchestrator.ray_backend.on_nodes import NodeCalls, cluster_nodes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

ANSWER_S = 60


@pytest.fixture
def other_version(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A node without CPUs that finds transformers 9.9.9 first; its id."""
    shim = tmp_path / "transformers-9.9.9.dist-info"
    shim.mkdir()
    (shim / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 9.9.9\n")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
        node = cluster.add_node(num_cpus=0, object_store_memory=10**8)
    yield str(node.node_id)
    cluster.remove_node(node)


def test_a_node_with_another_version_is_found(cluster: Cluster, other_version: str) -> None:
    nodes = cluster_nodes()
    answers = by_name(NodeCalls(node_state, nodes).answers(ANSWER_S))
    there = {name: state.software for name, state in answers.items()}
    ill = [each for each in versions(software(), there) if each.verdict is Verdict.WRONG]
    assert [each.where for each in ill] == [n.name for n in nodes if n.id == other_version]
    assert "transformers 9.9.9" in ill[0].seen


def test_a_gang_over_the_nodes_sums_right(cluster: Cluster) -> None:
    nodes = cluster_nodes()
    found = check_all_reduce(nodes)
    assert "the sum is right" in found.seen, found
    assert found.where == ", ".join(node.name for node in nodes if node.cpus)
