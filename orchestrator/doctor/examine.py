"""``examine``: every check in its order, each bounded, none stopped by another's failure."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.doctor import cluster_checks
from orchestrator.doctor.bounded import BoundedCall
from orchestrator.doctor.cluster_checks import BUSY, by_name
from orchestrator.doctor.findings import nodes as judge_nodes
from orchestrator.doctor.findings import places as judge_places
from orchestrator.doctor.findings.facts import NodeState, StoreUse, TrackingUse
from orchestrator.doctor.findings.finding import (
    Finding,
    merged,
    one_line,
    skipped,
    split_answers,
    unanswered,
    wrong,
)
from orchestrator.doctor.findings.nodes import DRIVER
from orchestrator.doctor.probes import store_probe
from orchestrator.doctor.probes.node_probe import node_state
from orchestrator.doctor.probes.source_probe import source_states
from orchestrator.doctor.subject import Subject, subject_of
from orchestrator.grid.schema import Grid
from orchestrator.layouts.layout import counted
from orchestrator.ray_backend import on_nodes
from orchestrator.ray_backend.cluster import connect
from orchestrator.ray_backend.node_kinds import ClusterNode, at_most, one_per_kind
from orchestrator.ray_backend.workers import forked_process_s
from orchestrator.redact import redact
from orchestrator.store.store import Store
from orchestrator.tracking.probe import use_tracking
from trsp.errors import InvalidInputError, TrackingError

DRIVER_S, NODES_S = 40, 60
MOST_NODES = 64
HANGS = "it hangs: look at the network, the mount or the server behind it"
TRACKING_CURE = "start the server, or correct tracking.uri (sqlite:///FILE needs no server)"


@dataclass(frozen=True)
class Examination:
    """What was found. ``nodes``: those that were asked, for people."""

    findings: tuple[Finding, ...]
    nodes: tuple[str, ...]
    seconds: float


def examine(grid: Grid | None, address: str | None, say: Callable[[str], None]) -> Examination:
    """Examine the cluster at ``address`` (None: a local Ray) for what a run of the grid needs.

    ``say`` is told what is looked at. InvalidInputError where the cluster cannot be joined.
    """
    begun = time.monotonic()
    subject = subject_of(grid)
    prefix = _new_prefix(subject.store)
    say("asking the driver: versions, disks, the store, the tracking server, sources")
    driver = _DriverCalls(subject, prefix)
    joined = _join(address)
    try:
        findings, asked = _examine(subject, prefix, driver, say)
    finally:
        if prefix:
            BoundedCall(store_probe.remove_prefix, prefix).answer(DRIVER_S)
        if joined:
            on_nodes.leave()
    shown = tuple(_redacted(finding) for finding in merged(findings))
    return Examination(shown, tuple(node.text for node in asked), time.monotonic() - begun)


def _new_prefix(store: str) -> str:
    """Return the address below which everything is written; empty where the store has none."""
    try:
        return store_probe.prefix_uri(store)
    except OSError:
        return ""


class _DriverCalls:
    """What the driver looks at, all at once, from the moment this is made."""

    def __init__(self, subject: Subject, prefix: str) -> None:
        self._state = BoundedCall(node_state, subject.folders)
        self._store = BoundedCall(_use_store_first, prefix or subject.store)
        self._tracking = BoundedCall(use_tracking, subject.tracking)
        self._sources = BoundedCall(source_states, subject.sources)
        self._deadline = time.monotonic() + DRIVER_S

    def state(self) -> Any:
        return self._answer(self._state)

    def store(self) -> Any:
        return self._answer(self._store)

    def tracking(self) -> Any:
        return self._answer(self._tracking)

    def sources(self) -> Any:
        return self._answer(self._sources)

    def _answer(self, call: BoundedCall) -> Any:
        return call.answer(max(0.0, self._deadline - time.monotonic()))


def _use_store_first(prefix: str) -> StoreUse:
    """Use the store as the driver, and leave what the nodes are to see."""
    try:
        store_probe.leave_word(prefix)
    except OSError as error:
        return StoreUse(failed="write", error=f"{error}")
    return store_probe.use_store(prefix, DRIVER)


def _join(address: str | None) -> bool:
    """Connect to the cluster; whether it is ours to leave. InvalidInputError without one."""
    try:
        return on_nodes.joined(address, connect)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(
            f"no Ray cluster at {redact(address or 'this machine')} ({one_line(error)}); "
            "start it (ray up, ray start), correct --address, or leave it out for a local Ray"
        ) from None


def _examine(
    subject: Subject, prefix: str, driver: _DriverCalls, say: Callable[[str], None]
) -> tuple[list[Finding], tuple[ClusterNode, ...]]:
    """Return the findings of all checks, and the nodes that were asked."""
    everyone = on_nodes.cluster_nodes()
    asked, kinds = at_most(everyone, MOST_NODES), one_per_kind(everyone)
    say(f"asking the same of {counted(len(asked), 'node')}")
    used = driver.store()
    states, asked_at = on_nodes.NodeCalls(node_state, asked, subject.folders), time.time()
    sources = on_nodes.NodeCalls(source_states, asked, subject.sources)
    stores = {each: on_nodes.NodeCalls(*_store_call(prefix, each)) for each in asked if prefix}
    findings = [cluster_checks.described(everyone, asked)]
    node_states = by_name(states.answers(NODES_S))
    findings += judge_nodes.clocks(split_answers(node_states)[0], asked_at, time.time())
    findings += _software(driver.state(), node_states, asked, subject)
    store_findings, sharing = _store(subject, used, stores)
    findings += store_findings
    findings.append(_tracking(subject, driver.tracking()))
    findings += _sources(subject, driver.sources(), by_name(sources.answers(NODES_S)))
    forks = on_nodes.NodeCalls(forked_process_s, asked)
    findings += judge_nodes.processes(*split_answers(by_name(forks.answers(NODES_S))))
    say("computing: an all-reduce, a small training, a tiny model through all stages")
    findings += cluster_checks.check_cuda(kinds)
    findings.append(cluster_checks.check_all_reduce(asked))
    training = cluster_checks.TrainingCheck(kinds)
    findings += cluster_checks.check_stages(prefix, kinds, sharing)
    kept = Store(subject.store) if isinstance(used, StoreUse) and not used.failed else None
    return [*findings, *training.findings(kept)], asked


def _store_call(prefix: str, node: ClusterNode) -> tuple[Any, ...]:
    """Return the arguments of the call that uses the store from a node."""
    return store_probe.use_store, [node], prefix, f"node-{node.id[:12]}"


def _software(
    driver: Any, answers: Mapping[str, Any], asked: Iterable[ClusterNode], subject: Subject
) -> Iterator[Finding]:
    """Yield what is wrong with versions, disks and GPUs; of each node that gave no answer, that."""
    states, errors = split_answers({DRIVER: driver, **answers})
    for place, error in errors.items():
        yield unanswered("node", place, error, HANGS if place == DRIVER else BUSY)
    nodes: dict[str, NodeState] = {n: each for n, each in states.items() if n != DRIVER}
    if DRIVER in states:
        software = {name: state.software for name, state in nodes.items()}
        yield from judge_nodes.versions(states[DRIVER].software, software)
    yield from judge_nodes.devices(
        nodes,
        {node.name: node.gpus for node in asked},
        subject.wants_gpus,
        can_come=on_nodes.gpus_can_come(),
    )
    yield from judge_nodes.disks(states)


def _store(
    subject: Subject, driver: Any, calls: Mapping[ClusterNode, on_nodes.NodeCalls]
) -> tuple[list[Finding], list[str]]:
    """Return what is wrong with the store, and the names of the nodes that can use it."""
    deadline = time.monotonic() + NODES_S
    answers = {DRIVER: driver}
    for call in calls.values():
        answers |= by_name(call.answers(max(1.0, deadline - time.monotonic())))
    uses, errors = split_answers(answers)
    findings = [unanswered("store", place, error, HANGS) for place, error in errors.items()]
    findings += judge_places.store(subject.store, uses)
    if DRIVER not in uses or uses[DRIVER].failed:
        return findings, []
    return findings, [name for name, use in uses.items() if not use.failed and use.sees_driver]


def _tracking(subject: Subject, answer: Any) -> Finding:
    if isinstance(answer, TrackingError):
        seen, _, cure = str(answer).rpartition("; ")
        return wrong("tracking", DRIVER, seen, cure or TRACKING_CURE)
    if isinstance(answer, BaseException):
        return unanswered("tracking", DRIVER, answer, TRACKING_CURE)
    return judge_places.tracking(subject.tracking, TrackingUse(answer))


def _sources(subject: Subject, driver: Any, answers: Mapping[str, Any]) -> Iterator[Finding]:
    if not subject.sources:
        yield skipped("sources", DRIVER, "no grid file was given: no model or text to look for")
        return
    found, errors = split_answers({DRIVER: driver, **answers})
    for place, error in errors.items():
        yield unanswered("sources", place, error, HANGS)
    yield from judge_places.sources(found)


def _redacted(finding: Finding) -> Finding:
    return replace(finding, seen=redact(finding.seen), cure=redact(finding.cure))
