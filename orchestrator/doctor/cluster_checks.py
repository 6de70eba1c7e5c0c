"""The checks that take the cluster: what nodes answer, a gang, a training, all stages.

Each is bounded by a limit, and what one raises is a finding of that check.
"""

import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from orchestrator.doctor.bounded import BoundedCall
from orchestrator.doctor.findings import work
from orchestrator.doctor.findings.facts import TrainingMemory
from orchestrator.doctor.findings.finding import (
    Finding,
    fine,
    named,
    one_line,
    skipped,
    unanswered,
)
from orchestrator.doctor.findings.nodes import torch_device as judge_torch_device
from orchestrator.doctor.probes.node_probe import torch_device
from orchestrator.doctor.probes.tiny_model import tiny_files, tiny_grid, write_files
from orchestrator.doctor.probes.training_probe import measure_training
from orchestrator.doctor.stage_trial import StageTrial, run_trial
from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.layout import Layout, counted
from orchestrator.ray_backend.all_reduce import AllReduced, all_reduce_over_gang
from orchestrator.ray_backend.node_kinds import ClusterNode
from orchestrator.ray_backend.on_nodes import NodeCalls, call_once, outcome_of
from orchestrator.ray_backend.ray_launcher import RayLauncher
from orchestrator.stages.resolve import resolve
from orchestrator.store.store import Store

CUDA_S, GANG_S, TRAINING_S, STAGES_S, FILES_S = 90, 120, 150, 240, 45
MOST_RANKS = 8
BUSY = "others may use that node: ask again when it is free, or look for what hangs there"


def by_name(answers: Mapping[ClusterNode, Any]) -> dict[str, Any]:
    """Return answers by the names of their nodes."""
    return {node.name: answer for node, answer in answers.items()}


def check_cuda(kinds: Iterable[ClusterNode]) -> Iterator[Finding]:
    """Yield what torch makes of a GPU on one node per kind that has any."""
    calls = NodeCalls(torch_device, [node for node in kinds if node.gpus], gpus=1)
    for name, answer in by_name(calls.answers(CUDA_S)).items():
        if isinstance(answer, BaseException):
            yield unanswered("cuda", name, answer, BUSY)
        else:
            yield judge_torch_device(name, answer)


def check_all_reduce(nodes: tuple[ClusterNode, ...]) -> Finding:
    """Run a gang over the nodes, one rank on each where they are several, and judge it."""
    gpus = any(node.gpus for node in nodes)
    able = [node for node in nodes if (node.gpus if gpus else node.cpus)]
    ranks = min(MOST_RANKS, len(able))
    if len(able) == 1:
        ranks = min(2, able[0].gpus if gpus else able[0].cpus)
    where = named([node.name for node in able])
    if ranks < 2:
        return work.no_gang(where)
    layout = Layout(ranks=ranks, gpus=int(gpus))
    found = outcome_of(call_once(all_reduce_over_gang, layout, node=nodes[0]), GANG_S, GANG_S)
    if isinstance(found, BaseException):
        return work.all_reduce_failed(where, one_line(found), isinstance(found, TimeoutError))
    return _judge_gang(found, nodes)


def _judge_gang(found: AllReduced, nodes: tuple[ClusterNode, ...]) -> Finding:
    names = [node.name for node in nodes if node.id in found.nodes]
    return work.all_reduce(
        found.backend, names, len(found.nodes), found.is_right, found.bytes_per_second, found.nccl
    )


class TrainingCheck:
    """A small training on one node per kind, which runs from the moment this is made."""

    def __init__(self, kinds: Iterable[ClusterNode]) -> None:
        self._calls = [
            NodeCalls(
                measure_training,
                [node],
                min(1, node.gpus),
                node.gpu_type,
                cpus=1,
                gpus=min(1, node.gpus),
            )
            for node in kinds
            if node.cpus
        ]

    def findings(self, store: Store | None) -> Iterator[Finding]:
        """Yield how measured memory compares with the estimate; kept in ``store`` if there is one.

        Of one kind of device on several kinds of node, the one that took most is kept.
        """
        deadline = time.monotonic() + TRAINING_S
        most: dict[str, TrainingMemory] = {}
        for calls in self._calls:
            answers = by_name(calls.answers(max(1.0, deadline - time.monotonic())))
            for name, answer in answers.items():
                if isinstance(answer, BaseException):
                    yield unanswered("memory", name, answer, BUSY)
                    continue
                before = most.get(answer.device)
                if before is None or answer.measured_bytes > before.measured_bytes:
                    most[answer.device] = answer
                is_kept = store is not None and _keep(store, most[answer.device])
                yield work.memory(name, answer, is_kept)


def _keep(store: Store, found: TrainingMemory) -> bool:
    """Keep what was measured for later estimates; whether the store could be written."""
    try:
        store.memory.save(found.device, {**vars(found), "when": time.time()})
    except OSError:
        return False
    return True


def check_stages(
    prefix: str, kinds: Iterable[ClusterNode], sharing: Iterable[str]
) -> Iterator[Finding]:
    """Run a tiny model through all stages on one node per kind, all kinds at once.

    ``prefix``: of the store, thrown away later. ``sharing``: names of the nodes that can use it.
    """
    able = [node for node in kinds if node.cpus]
    usable = [node for node in able if node.name in sharing]
    for node in able:
        if node not in usable:
            yield skipped("stages", node.name, "that node cannot use the store")
    if not usable:
        return
    with _files_on(usable) as (folder, errors):
        for name, error in errors.items():
            yield unanswered("stages", name, error, BUSY)
        ready = [node for node in usable if node.name not in errors]
        yield from _run_trials(folder, prefix, ready)


def _run_trials(folder: str, prefix: str, nodes: Iterable[ClusterNode]) -> Iterator[Finding]:
    """Yield how the stages went on each node, within the limit."""
    late, deadline = threading.Event(), time.monotonic() + STAGES_S
    trials = {node: StageTrial() for node in nodes}
    calls: dict[ClusterNode, BoundedCall] = {}
    for node, trial in trials.items():
        store = Store(prefix).files.address(node.id[:8])
        calls[node] = BoundedCall(_trial, folder, store, node, trial, late)
    try:
        for node, call in calls.items():
            _await(call, trials[node], late, deadline)
    finally:  # who still runs is to start nothing more: the cluster may go
        late.set()
    for node, trial in trials.items():
        yield work.stages(node.name, trial.seconds, trial.failed, trial.error)


def _await(call: BoundedCall, trial: StageTrial, late: threading.Event, deadline: float) -> None:
    """Wait for a node's stages until the deadline, and note where they did not come to their end.

    The first that is late ends the others, too.
    """
    answer = call.answer(max(0.0, deadline - time.monotonic()))
    if isinstance(answer, BaseException):
        late.set()
        trial.failed = trial.failed or "start"
        trial.error = trial.error or one_line(answer)
        if isinstance(answer, TimeoutError):
            trial.error = f"not done within {STAGES_S} s"


def _trial(
    folder: str, store: str, node: ClusterNode, trial: StageTrial, late: threading.Event
) -> None:
    """Run the stages on one node by a launcher of its own."""
    gpus = min(1, node.gpus)
    launcher = RayLauncher(Resources(use_gpus=gpus > 0), node=node)
    resolved = resolve(tiny_grid(folder, store), hardware=launcher.hardware())
    run_trial(resolved, launcher, gpus, trial, late.is_set)


@contextmanager
def _files_on(nodes: Iterable[ClusterNode]) -> Iterator[tuple[str, dict[str, BaseException]]]:
    """Put the tiny model on these nodes and on the driver; yield its folder, the same on all.

    And what went wrong, by node. All of it is removed afterwards.
    """
    folder = f"{tempfile.gettempdir()}/trsp-doctor-{uuid.uuid4().hex[:12]}"
    files, nodes = tiny_files(), tuple(nodes)
    try:
        write_files(files, folder)
        answers = by_name(NodeCalls(write_files, nodes, files, folder).answers(FILES_S))
        errors = {name: each for name, each in answers.items() if isinstance(each, BaseException)}
        yield folder, errors
    finally:
        NodeCalls(_remove, nodes, folder).answers(FILES_S)
        _remove(folder)


def _remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def described(nodes: tuple[ClusterNode, ...], asked: tuple[ClusterNode, ...]) -> Finding:
    """Return the finding that the cluster is there, and how many of its nodes were asked."""
    kinds = {node.kind for node in nodes}
    seen = f"{counted(len(nodes), 'node')} of {counted(len(kinds), 'kind')}"
    if len(asked) < len(nodes):
        seen += f", of which {len(asked)} were asked"
    return fine("cluster", "driver", seen)
