"""In which order stages that are needed are started where room is short. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.stages.stage_specs import StageKind, StageSpec

# Where nothing is known of seconds. Rankings hold up the most cells, so they go first; then
# whatever finishes a cell soonest. Measuring comes last: on CPU it needs a machine for itself.
PRIORITY: Sequence[StageKind] = (
    StageKind.RANKING,
    StageKind.PRUNE,
    StageKind.EVALUATE,
    StageKind.DENSE,
    StageKind.TRANSFER,
    StageKind.MEASURE,
)
_KINDS: Mapping[StageKind, int] = {kind: place for place, kind in enumerate(PRIORITY)}

# A path that is longer than this part of the least that the grid can still take is critical.
CRITICAL = 0.5

Place = tuple[int, float, float, int]  # what comes first has the least


@dataclass(frozen=True)
class Expected:
    """What is expected of the stages that are needed, by key, and of those that run."""

    seconds: Mapping[str, float]  # for which a stage holds its room
    after: Mapping[str, float]  # of the longest path from its start
    running: Sequence[tuple[Layout, float]] = field(default=())  # the seconds that each has left


def order(
    needs: Sequence[StageSpec],
    layout_of: Callable[[StageSpec], Layout],
    capacity: Capacity,
    expected: Expected,
) -> list[StageSpec]:
    """Return the needs in the order in which they are to be started.

    Deletions from stage two's weights that take no GPU come first: they take next to no time, and
    until then the store keeps all of these. Then comes what nothing is known of, which may be the
    longest, in the order of kinds; then what is critical, the longest path first; then the rest,
    those that take the most first (of the cluster, and for how long), so that those that are left
    in the end are small enough for any gap.
    """
    if not expected.after:
        return sorted(needs, key=lambda need: _KINDS[need.kind])
    shares = Shares(capacity)
    critical_s = CRITICAL * _least_left_s(needs, layout_of, shares, expected)

    def place(need: StageSpec) -> Place:
        layout, after_s = layout_of(need), expected.after.get(need.key)
        if need.kind is StageKind.PRUNE and need.reads and not layout.gpus:
            return 0, 0.0, 0.0, 0
        if after_s is None:
            return 1, 0.0, 0.0, _KINDS[need.kind]
        if after_s > critical_s:
            return 2, -after_s, 0.0, _KINDS[need.kind]
        taken = shares.of(layout) * expected.seconds.get(need.key, after_s)
        return 3, -taken, -after_s, _KINDS[need.kind]

    return sorted(needs, key=place)


def _least_left_s(
    needs: Sequence[StageSpec],
    layout_of: Callable[[StageSpec], Layout],
    shares: "Shares",
    expected: Expected,
) -> float:
    """Return the seconds that the grid takes at least from now on, as far as it can be seen.

    It is the longest path, or the work over the cluster. Only one path of each need is seen, of a
    ranking on which many cells hang, too: there is more work than that.
    """
    paths = [(need, expected.after.get(need.key, 0.0)) for need in needs]
    work_s = sum(shares.of(layout_of(need)) * after_s for need, after_s in paths)
    work_s += sum(shares.of(layout) * left_s for layout, left_s in expected.running)
    return max(work_s, max((after_s for _, after_s in paths), default=0.0))


class Shares:
    """How much of a cluster each layout takes: of that of which it takes the most."""

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._of: dict[int, float] = {}  # by the layout's id: hashing one is slow
        self._known: list[Layout] = []  # keeps the ids theirs

    def of(self, layout: Layout) -> float:
        """Return the share, from 0 to 1 for what fits."""
        share = self._of.get(id(layout))
        if share is None:
            there = self._capacity
            share = layout.ranks * max(
                layout.gpus / max(1, there.gpus),
                layout.cpus / max(1, there.cpus),
                layout.memory_bytes / there.memory_bytes if there.memory_bytes else 0.0,
            )
            self._of[id(layout)] = share
            self._known.append(layout)
        return share
