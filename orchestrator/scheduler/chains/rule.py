"""Which stages of a cell follow one another in one process, and the room that they share. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.layouts.capacity import Capacity, fits
from orchestrator.layouts.layout import Layout
from orchestrator.stages.stage_specs import StageKind, StageSpec

# A stage may hold, of what there is least of, so many times what it would take by itself: it saves
# a start and a load, which is little beside what others could compute on the rest.
MOST_WASTE = 2.0
LEADING = (StageKind.TRANSFER, StageKind.PRUNE)  # the kinds that may hand a model on


@dataclass(frozen=True)
class Candidate:
    """A stage that may follow: it needs nothing but what those before it make."""

    spec: StageSpec
    layouts: tuple[Layout, ...]  # of which it has one when it stands alone, the best first


@dataclass(frozen=True)
class Follower:
    """A stage that follows another in its process."""

    spec: StageSpec
    layout: Layout  # that it has when it stands alone


@dataclass(frozen=True)
class Chain:
    """Stages that follow another in its process, in order, and the room that all have."""

    room: Layout
    followers: tuple[Follower, ...] = ()


def may_lead(spec: StageSpec, layout: Layout) -> bool:
    """Whether a stage of this layout may hand its model on to the next stage of its cell.

    A gang has its model in parts, which no single process that follows could take.
    """
    return spec.kind in LEADING and layout.ranks == 1


def may_follow(spec: StageSpec, head: StageSpec, measure_alone: bool, shared: bool) -> bool:
    """Whether a stage of the cell of ``head`` may follow it in its process, as far as kinds go.

    ``measure_alone``: a measurement must have the machine for itself. ``shared``: other cells rest
    on the stage, too. Checkpoints of one shape share a measurement, which the first of them can
    have: it is not claimed, and so kept from the others, for as long as a training takes.
    """
    if spec.kind is not StageKind.MEASURE:
        return True
    return not measure_alone and not (shared and head.kind is StageKind.TRANSFER)


def chain_of(
    head: StageSpec,
    own: Layout,
    candidates: Iterable[Candidate],
    cluster: Capacity,
    room: Layout | None = None,
) -> Chain:
    """Return the longest chain behind ``head``: the first candidates that all may join.

    ``own``: the layout that the head has when it stands alone. ``room``: what all of them have to
    do with; None: as much as they need, on one node of ``cluster``. A stage joins where the room is
    enough for it and no stage of the chain, but for the deletion of layers, holds more than
    MOST_WASTE times what it would take by itself. The deletion is excused: it computes for
    seconds, and whoever stands before or behind it would hold the same to write or to read the
    weights that are handed over.
    """
    chain = Chain(room or own)
    users = _users([Follower(head, own)])
    for candidate in candidates:
        joined = (_join(chain, layout, candidate.spec, room) for layout in candidate.layouts)
        options = (each for each in joined if each and fits(cluster, each.room))
        thrifty = (each for each in options if _is_thrifty(each, users, cluster))
        longer = next(thrifty, None)
        if longer is None:
            break
        chain = longer
    return chain


def _join(chain: Chain, layout: Layout, spec: StageSpec, limit: Layout | None) -> Chain | None:
    """Return the chain with one more stage; None where it cannot have the room that it needs.

    Speed is measured on as many whole GPUs as the measurement's own layout has.
    """
    room = covering(chain.room, layout)
    if room is None or (limit is not None and room != limit):
        return None
    followers = (*chain.followers, Follower(spec, layout))
    measured = [each.layout for each in followers if each.spec.kind is StageKind.MEASURE]
    if any(each.gpus != room.gpus for each in measured):
        return None
    return Chain(room, followers)


def covering(room: Layout, layout: Layout) -> Layout | None:
    """Return the least room, of one process, that is enough for both; None where there is none.

    GPUs of two types are no such room. The engine is that of ``room``.
    """
    types = {each.gpu_type for each in (room, layout) if each.gpus}
    if len(types) > 1 or layout.ranks > 1:
        return None
    return replace(
        room,
        cpus=max(room.cpus, layout.cpus),
        gpus=max(room.gpus, layout.gpus),
        memory_bytes=max(room.memory_bytes, layout.memory_bytes),
        gpu_type=next(iter(types), ""),
    )


def own_layout(room: Layout, layouts: Iterable[Layout]) -> Layout:
    """Return which of its layouts a stage that leads would have alone, given the room it has.

    In a room for several stages it is the first that this is enough for.
    """
    known = tuple(layouts)
    if room in known:
        return room
    covered = (each for each in known if each.engine == room.engine)
    return next((each for each in covered if covering(room, each) == room), room)


def _users(stages: Iterable[Follower]) -> list[Layout]:
    """Return the layouts that the stages which are to use their room would have alone."""
    return [each.layout for each in stages if each.spec.kind is not StageKind.PRUNE]


def _is_thrifty(chain: Chain, head: Sequence[Layout], cluster: Capacity) -> bool:
    """Whether no stage holds much more than it would take by itself. ``head``: as a user."""
    taken = _share(chain.room, cluster)
    return all(
        taken <= MOST_WASTE * _share(layout, cluster)
        for layout in (*head, *_users(chain.followers))
    )


def _share(layout: Layout, cluster: Capacity) -> float:
    """Return the part of the cluster that a layout takes, of what it takes the largest part of."""
    parts = [layout.cpus / max(1, cluster.cpus)]
    if cluster.gpus:
        parts.append(layout.gpus / cluster.gpus)
    if cluster.memory_bytes:
        parts.append(layout.memory_bytes / cluster.memory_bytes)
    return max(parts)
