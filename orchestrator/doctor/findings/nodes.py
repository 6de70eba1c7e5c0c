"""From what nodes are like to findings: software, room on disks, GPUs. Pure."""

from collections.abc import Iterator, Mapping

from orchestrator.doctor.findings.facts import FreeSpace, Gpu, NodeState, Software, TorchDevice
from orchestrator.doctor.findings.finding import (
    Finding,
    fine,
    named,
    one_line,
    warning,
    wrong,
)

_GB = 10**9
LEAST_FREE_BYTES = _GB  # below that, nothing can be relied on to be written
LITTLE_FREE_BYTES = 20 * _GB  # one checkpoint of a 7B model, and something to spare
_LEAST_FREE_SHARE = 0.9  # of a GPU's memory that nobody else holds
_BF16_SINCE = (8, 0)  # compute capability from which bf16 is computed in hardware
MOST_APART_S = 5  # between two clocks
DRIVER = "driver"


def versions(driver: Software, nodes: Mapping[str, Software]) -> Iterator[Finding]:
    """Yield what of each node's software differs from the driver's; one finding where nothing does.

    ``nodes``: by their names.
    """
    same = [name for name, software in nodes.items() if software == driver]
    if same:
        seen = [f"Python {driver.python}", *(f"{n} {v}" for n, v in driver.libraries.items())]
        yield fine("versions", named([DRIVER, *same]), ", ".join(seen))
    for name, software in nodes.items():
        if software.python != driver.python:
            yield _other_python(name, software.python, driver.python)
        for library in sorted({*driver.libraries, *software.libraries}):
            here, there = driver.libraries.get(library), software.libraries.get(library)
            if here != there:
                yield _other_version(name, library, there, here)
        if software.code != driver.code:
            yield wrong(
                "versions",
                name,
                f"another copy of this project's code ({software.code}, driver: {driver.code})",
                "update the node's copy, or send the driver's along by `trsp submit FILE`",
            )


def _other_python(name: str, there: str, here: str) -> Finding:
    seen = f"Python {there}, driver: {here}"
    return wrong(
        "versions", name, seen, f"start Ray on {name} from an environment of Python {here}"
    )


def _other_version(name: str, library: str, there: str | None, here: str | None) -> Finding:
    seen = f"{library} {there or 'is not installed'}, driver: {here or 'not installed'}"
    if here is None:
        cure = f"install {library}=={there} on the driver, or remove it from {name}"
    else:
        cure = f"pip install {library}=={here} on {name}, then start Ray there again"
    return wrong("versions", name, seen, cure)


def clocks(
    nodes: Mapping[str, NodeState], asked_at: float, answered_at: float
) -> Iterator[Finding]:
    """Yield the nodes whose clock is not the driver's, and one finding of those whose clock is.

    Theirs was read between the moments ``asked_at`` and ``answered_at`` of the driver's, in seconds
    since the epoch.
    """
    same = []
    for name, state in nodes.items():
        behind_s, ahead_s = asked_at - state.clock, state.clock - answered_at
        if max(behind_s, ahead_s) <= MOST_APART_S:
            same.append(name)
            continue
        way = f"{behind_s:,.0f} s behind" if behind_s > 0 else f"{ahead_s:,.0f} s ahead of"
        cure = (
            f"set it by NTP on {name}: times in logs and MLflow are wrong meanwhile, and S3 "
            "refuses requests whose clock is 15 minutes off"
        )
        yield warning("clocks", name, f"{way} the driver's", cure)
    if same:
        yield fine("clocks", named(same), f"within {MOST_APART_S} s of the driver's")


def disks(nodes: Mapping[str, NodeState]) -> Iterator[Finding]:
    """Yield a finding for every folder with too little room, and one where all have enough."""
    tight = False
    for name, state in nodes.items():
        for space in state.space:
            found = _room(name, space)
            if found:
                tight = True
                yield found
    if nodes and not tight:
        spaces = [space for state in nodes.values() for space in state.space]
        least = min(spaces, key=lambda space: space.free_bytes)
        folders = ", ".join(dict.fromkeys(space.name for space in spaces))
        seen = f"{_gb(least.free_bytes)} free or more ({folders})"
        yield fine("disk", named(list(nodes)), seen)


def _room(name: str, space: FreeSpace) -> Finding | None:
    """Return what is wrong with the room in a folder; None where it is enough."""
    where = f"{space.name} {space.path}"
    if space.error:
        cure = f"let the user of Ray write to {space.path}, or set another folder"
        return wrong("disk", name, f"{where} cannot be written: {space.error}", cure)
    if space.free_bytes < LEAST_FREE_BYTES:
        return wrong("disk", name, f"{where}: {_gb(space.free_bytes)} free", _make_room(space))
    if space.free_bytes < LITTLE_FREE_BYTES:
        return warning("disk", name, f"{where}: {_gb(space.free_bytes)} free", _make_room(space))
    return None


def processes(
    seconds: Mapping[str, float], errors: Mapping[str, BaseException]
) -> Iterator[Finding]:
    """Yield where processes cannot be forked as stages' are, and one finding of where they can.

    ``seconds``: until one was there, by node; ``errors``: why none was.
    """
    for name, error in errors.items():
        seen = f"none can be forked, so that each stage starts seconds later: {one_line(error)}"
        cure = (
            "see to what the message names; by TRSP_TMPDIR they are kept in another folder, and "
            "what a fork server printed lies there, too"
        )
        yield warning("processes", name, seen, cure)
    if seconds:
        seen = f"forked within {max(seconds.values()):.0f} s, imports of the first included"
        yield fine("processes", named(list(seconds)), seen)


def _make_room(space: FreeSpace) -> str:
    """Return how to get more room, by what the folder is for."""
    variable = {
        "temp folder": "TRSP_TMPDIR",
        "TRSP_HOME": "TRSP_HOME",
        "HF cache": "HF_HOME",
        "store": "storage.store",
    }
    setting = variable.get(space.name, space.name)
    return f"make room, or let {setting} name a folder on a larger disk"


def devices(
    nodes: Mapping[str, NodeState],
    gpus_of_ray: Mapping[str, int],
    has_gpu_jobs: bool,
    can_come: bool = False,
) -> Iterator[Finding]:
    """Yield what each node's driver says of its GPUs, against what Ray offers (by node).

    ``can_come``: whether the cluster's autoscaler may start nodes with GPUs.
    """
    for name, state in nodes.items():
        offered = gpus_of_ray.get(name, 0)
        if state.gpus and not offered:
            yield warning(
                "devices",
                name,
                f"{_described(state.gpus)}, of which Ray offers none",
                f"start Ray on {name} with --num-gpus={len(state.gpus)}",
            )
        elif state.gpus:
            yield fine("devices", name, _described(state.gpus))
            yield from _busy(name, state.gpus)
    if not any(gpus_of_ray.values()) and not any(state.gpus for state in nodes.values()):
        yield _without_gpus(named(list(nodes)), has_gpu_jobs, can_come)


def _without_gpus(where: str, asked_for: bool, can_come: bool) -> Finding:
    if can_come:
        cure = "to have them examined, run this again while such nodes are up"
        return warning("devices", where, "no GPU now; nodes with GPUs come when asked for", cure)
    seen = "no GPU: everything is computed on CPUs"
    if not asked_for:
        return fine("devices", where, seen)
    cure = "add GPU nodes, or set resources.use_gpus: false in the grid file"
    return wrong("devices", where, f"{seen}, and the grid asks for GPUs", cure)


def _described(gpus: tuple[Gpu, ...]) -> str:
    """Return a node's GPUs for people: ``8 x NVIDIA A100 of 85 GB, driver 550.54``."""
    kinds = dict.fromkeys((gpu.name, gpu.driver) for gpu in gpus)
    parts = []
    for kind, driver in kinds:
        alike = [gpu for gpu in gpus if (gpu.name, gpu.driver) == (kind, driver)]
        size = _gb(min(gpu.total_bytes for gpu in alike))
        parts.append(f"{len(alike)} x {kind} of {size}, driver {driver}")
    return "; ".join(parts)


def _busy(name: str, gpus: tuple[Gpu, ...]) -> Iterator[Finding]:
    """Yield a warning where somebody else holds much of a GPU's memory."""
    busy = [gpu for gpu in gpus if gpu.free_bytes < _LEAST_FREE_SHARE * gpu.total_bytes]
    if busy:
        least = min(busy, key=lambda gpu: gpu.free_bytes)
        yield warning(
            "devices",
            name,
            f"{len(busy)} of {len(gpus)} GPUs in use: {_gb(least.free_bytes)} of "
            f"{_gb(least.total_bytes)} free",
            "end what holds them (nvidia-smi), or set resources.gpu_memory to what is free",
        )


def torch_device(name: str, device: TorchDevice) -> Finding:
    """Return what torch makes of a GPU of the node."""
    if device.error:
        cuda = (
            f"torch is built for CUDA {device.cuda}" if device.cuda else "torch is built for CPUs"
        )
        cure = (
            "install a driver that supports it (nvidia-smi names its CUDA version)"
            if device.cuda
            else "install torch's CUDA build on that node"
        )
        return wrong("cuda", name, f"torch cannot use the GPU: {device.error}; {cuda}", cure)
    capability = ".".join(map(str, device.capability))
    seen = f"{device.name}, CUDA {device.cuda}, compute capability {capability}"
    if not device.has_bf16 or device.capability < _BF16_SINCE:
        cure = "set precision: fp32 in the grid file, or use GPUs of capability 8.0 or more"
        return warning("cuda", name, f"{seen}: no bf16 in hardware", cure)
    free = f"{_gb(device.free_bytes)} of {_gb(device.total_bytes)} free"
    return fine("cuda", name, f"{seen}, bf16, {free}")


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / _GB:,.1f} GB"
