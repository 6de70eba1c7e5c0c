"""All checks in their order, on a cluster that is played by this process."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.doctor import cluster_checks, examine
from orchestrator.doctor.findings.facts import TrainingMemory
from orchestrator.doctor.findings.finding import Finding, Verdict, fine
from orchestrator.grid.schema import load_grid
from orchestrator.ray_backend import on_nodes
from orchestrator.ray_backend.node_kinds import ClusterNode
from orchestrator.store.store import Store
from tests.tiny_grid import tiny_grid

NODES = tuple(
    ClusterNode(f"id{i}", f"node {i}", "10.0.0.1", 1, 0, "", i == 1, ("one kind",)) for i in (1, 2)
)
MEMORY = TrainingMemory("cpu", 100, 120, 10, 20)


class HereCalls:
    """Calls on nodes, made here and at once; a training is only said to have run."""

    def __init__(
        self, function: Callable[..., Any], nodes: Iterable[ClusterNode], *given: Any, **takes: int
    ) -> None:
        if takes:
            self._answers: dict[ClusterNode, Any] = dict.fromkeys(nodes, MEMORY)
        else:
            self._answers = {node: function(*given) for node in nodes}

    def answers(self, timeout_s: float) -> dict[ClusterNode, Any]:
        return self._answers


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes of one kind, where a gang and the stages go well."""
    monkeypatch.setattr(on_nodes, "joined", lambda address, connect: False)
    monkeypatch.setattr(on_nodes, "cluster_nodes", lambda: NODES)
    monkeypatch.setattr(on_nodes, "gpus_can_come", lambda: False)
    monkeypatch.setattr(examine, "forked_process_s", lambda: 0.1)
    monkeypatch.setattr(on_nodes, "NodeCalls", HereCalls)
    monkeypatch.setattr(cluster_checks, "NodeCalls", HereCalls)
    monkeypatch.setattr(
        cluster_checks, "check_all_reduce", lambda nodes: fine("all-reduce", "", "")
    )
    monkeypatch.setattr(
        cluster_checks, "_run_trials", lambda folder, prefix, nodes: [fine("stages", "", "")]
    )


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> str:
    """The address of an MLflow database of the test's own."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def _found(grid: Path) -> dict[str, list[Finding]]:
    """The findings by their checks."""
    by_check: dict[str, list[Finding]] = {}
    for finding in examine.examine(load_grid(grid), None, lambda text: None).findings:
        by_check.setdefault(finding.check, []).append(finding)
    return by_check


def _verdicts(findings: Iterable[Finding]) -> set[Verdict]:
    return {finding.verdict for finding in findings}


def test_where_all_is_well_only_measured_memory_stays_behind(
    tmp_path: Path, tiny_llama: Path, text_file: Path, database: str
) -> None:
    grid = tiny_grid(tmp_path, tiny_llama, text_file, tracking={"uri": database})
    found = _found(grid)
    well = {check for check, each in found.items() if _verdicts(each) <= {Verdict.OK}}
    wanted = {"versions", "processes", "store", "tracking", "sources", "all-reduce", "stages"}
    assert wanted <= well
    left = [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert left == ["cpu.json"]
    assert Store(str(tmp_path / "store")).memory.load("cpu")["measured_bytes"] == 120


def test_a_store_that_cannot_be_written_stops_the_stages_and_nothing_else(
    tmp_path: Path, tiny_llama: Path, text_file: Path, database: str
) -> None:
    (tmp_path / "file").write_text("")
    grid = tiny_grid(
        tmp_path,
        tiny_llama,
        text_file,
        storage={"store": str(tmp_path / "file" / "store")},
        tracking={"uri": database},
    )
    found = _found(grid)
    assert _verdicts(found["store"]) == {Verdict.WRONG}
    assert _verdicts(found["stages"]) == {Verdict.SKIPPED}
    assert "not kept" in found["memory"][0].cure
    assert _verdicts(found["tracking"]) == {Verdict.OK}


def test_an_absent_server_is_found_without_its_credentials(
    tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    uri = "http://me:hidden@127.0.0.1:9"
    (found,) = _found(tiny_grid(tmp_path, tiny_llama, text_file, tracking={"uri": uri}))["tracking"]
    assert (found.verdict, "hidden" in found.seen) == (Verdict.WRONG, False)
    assert found.cure.startswith("start the server")
