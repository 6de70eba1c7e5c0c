"""From what was computed on the cluster to findings: a gang, all stages, memory. Pure."""

from collections.abc import Mapping

from orchestrator.doctor.findings.facts import TrainingMemory
from orchestrator.doctor.findings.finding import Finding, fine, named, skipped, warning, wrong

_GB = 10**9
SLOW_LINK_BYTES_PER_S = 10**8  # between nodes: below that, gangs over nodes wait for the network
CAREFUL_RATIO = 0.8  # measured over estimated memory, below which layouts take more than needed


def all_reduce(
    backend: str, nodes: list[str], ranks: int, is_right: bool, bytes_per_second: float, nccl: str
) -> Finding:
    """Return how an all-reduce over ``ranks`` ranks on these nodes went."""
    library = f"nccl {nccl}" if nccl else backend
    seen = f"{library}, {ranks} ranks: {bytes_per_second / _GB:.2f} GB/s"
    where = named(nodes)
    if not is_right:
        return wrong(
            "all-reduce",
            where,
            f"{library}, {ranks} ranks: the sum is not right",
            "the same version of torch on all nodes; for NCCL try NCCL_P2P_DISABLE=1, then "
            "NCCL_IB_DISABLE=1, to find the link that is broken",
        )
    if bytes_per_second < SLOW_LINK_BYTES_PER_S and len(set(nodes)) > 1:
        cure = (
            "let NCCL_SOCKET_IFNAME (gloo: GLOO_SOCKET_IFNAME) name the fast network's interface, "
            "or keep gangs on one node (resources.max_ranks)"
        )
        return warning("all-reduce", where, seen, cure)
    return fine("all-reduce", where, f"{seen}, the sum is right")


def no_gang(where: str) -> Finding:
    """Return that there is nothing to reduce over."""
    return skipped("all-reduce", where, "no two ranks fit on this cluster: nothing to reduce")


def all_reduce_failed(where: str, error: str, is_late: bool) -> Finding:
    """Return the finding of a gang that failed, or did not end in time."""
    if is_late:
        cure = (
            "nodes must reach each other on all ports, by the interface that Ray uses "
            "(NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME); if others use the cluster, ask again later"
        )
    else:
        cure = "NCCL_DEBUG=INFO or TORCH_DISTRIBUTED_DEBUG=DETAIL on the nodes says more"
    return wrong("all-reduce", where, error, cure)


def stages(where: str, seconds: Mapping[str, float], failed: str = "", error: str = "") -> Finding:
    """Return how the tiny model came through the stages; ``failed``: the one where it ended."""
    done = ", ".join(f"{kind} {value:.0f} s" for kind, value in seconds.items())
    if not failed:
        return fine("stages", where, done)
    before = f" (done: {done})" if done else ""
    cure = (
        "cure what is named above first; else the message is that of the stage itself, which any "
        "grid would end with there"
    )
    return wrong("stages", where, f"{failed} failed: {error}{before}", cure)


def memory(where: str, found: TrainingMemory, is_kept: bool) -> Finding:
    """Return how a small training's memory compares with its estimate."""
    ratio = found.measured_bytes / found.estimated_bytes
    seen = (
        f"a small training on {found.device}: {found.measured_bytes / _GB:.2f} GB, "
        f"{_gb(found.estimated_bytes)} ({round(100 * ratio) - 100:+d}%); before any model "
        f"{found.runtime_bytes / _GB:.2f} GB, {_gb(found.estimated_runtime_bytes)}"
    )
    kept = "kept in the store: later estimates are corrected by it"
    cure = kept if is_kept else "not kept, for the store cannot be written: cure that, ask again"
    is_low = found.runtime_bytes > found.estimated_runtime_bytes
    if ratio > 2:
        cure = f"{cure}, up to twice; set engine and resources.ranks by hand, and report this"
        return wrong("memory", where, seen, cure)
    if ratio > 1 + TOLERATED or is_low:
        return warning("memory", where, seen, cure)
    if ratio < CAREFUL_RATIO:
        cure = "estimates are too careful there: resources.ranks or engine may ask for less"
        return warning("memory", where, seen, cure)
    return fine("memory", where, seen)


TOLERATED = 0.1  # by which a training may take more than its estimate, as docs/memory.md says


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / _GB:.2f} estimated"
