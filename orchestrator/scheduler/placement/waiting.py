"""What a stage waits for in a cluster that others use, for people. Pure."""

from orchestrator.layouts.capacity import Capacity, describe_needs
from orchestrator.layouts.layout import Layout, counted

_GB = 10**9
_WORTH_A_WORD_BYTES = 50_000_000  # less is how Ray rounds, and would be told as 0.0 GB


def not_placed(layout: Layout, capacity: Capacity) -> str:
    """Return what a stage waits for that was submitted, and whose processes have not begun."""
    others = describe_others(capacity, layout)
    if not others:
        return f"is being started: takes {describe_needs(layout)}"
    return f"Ray has not placed it yet: needs {describe_needs(layout)}; {others}"


def beside_others(layout: Layout, capacity: Capacity) -> str:
    """Return what a stage waits for that is not submitted, for there is no room for it."""
    others = describe_others(capacity, layout)
    return f"waits for {describe_needs(layout)}" + (f"; {others}" if others else "")


def has_quiet_node(capacity: Capacity) -> bool:
    """Whether no other job holds CPUs of one of the largest nodes, on which speed is measured."""
    machines = capacity.in_all.machines
    most = max(machine.cpus for machine in machines)
    nodes = zip(capacity.machines, machines, strict=True)
    return any(ours.cpus == whole.cpus == most for ours, whole in nodes)


def most_cpus(capacity: Capacity, *, quiet_only: bool) -> int:
    """Return the CPUs of the largest node, on which speed is measured.

    Of equal ones it is that which other jobs have left the most of; with ``quiet_only``, all that
    it has, whatever they hold of it.
    """
    nodes = zip(capacity.in_all.machines, capacity.machines, strict=True)
    whole, ours = max((whole.cpus, ours.cpus) for whole, ours in nodes)
    return max(1, whole if quiet_only else ours)


def describe_others(capacity: Capacity, layout: Layout) -> str:
    """Return what other jobs hold of what a layout needs: ``other jobs hold 56 of 64 GPUs``.

    Empty where they hold none of it. GPUs come before CPUs, and these before memory.
    """
    there = capacity.in_all
    if layout.gpus and there.gpus > capacity.gpus:
        return f"other jobs hold {there.gpus - capacity.gpus} of {counted(there.gpus, 'GPU')}"
    if there.cpus > capacity.cpus:
        return f"other jobs hold {there.cpus - capacity.cpus} of {counted(there.cpus, 'CPU')}"
    held_bytes = there.memory_bytes - capacity.memory_bytes
    if layout.memory_bytes and held_bytes >= _WORTH_A_WORD_BYTES:
        of = there.memory_bytes
        return f"other jobs hold {held_bytes / _GB:.1f} of {of / _GB:.1f} GB of memory"
    return ""
