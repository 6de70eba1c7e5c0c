"""What of a store nobody needs. Pure: it sees what is held, needed and protected, and no store."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.keeping.held import HeldStage, What
from orchestrator.keeping.needs import Needs
from orchestrator.stages.stage_specs import StageKind

YOUNGEST_S = 3600.0  # nothing that was written since is removed, whatever is asked for
# Small, shared by grids in ways that their keys do not tell, and of no use to anybody's disk.
NEVER = frozenset({StageKind.MEASURE, "score"})


class Action(StrEnum):
    """What is removed of a stage, and why, for people."""

    RESULT = "results that no kept grid asks for"
    WEIGHTS = "stage two's weights whose checkpoint is there"
    LEFT = "what attempts left that never committed"


@dataclass(frozen=True)
class Removal:
    """What is to be removed of one stage."""

    key: str
    action: Action
    size_bytes: int


@dataclass(frozen=True)
class Protected:
    """What stays, whatever the kept grids say."""

    working: frozenset[str] = frozenset()  # stages that living drivers hold, or whose grids need
    marked: frozenset[str] | None = frozenset()  # by MLflow's aliases; None: they are not known
    unclear: tuple[str, ...] = ()  # why nobody can tell which results are needed


@dataclass(frozen=True)
class Decision:
    """What is to be removed, and how much stays only to be safe."""

    removals: tuple[Removal, ...] = ()
    kept_young: int = 0  # stages with something that nobody needs, but written lately
    kept_unmarked: int = 0  # checkpoints that stay because aliases are not known

    @property
    def size_bytes(self) -> int:
        """The bytes that go."""
        return sum(removal.size_bytes for removal in self.removals)

    def of(self, action: Action) -> tuple[Removal, ...]:
        """Return the removals of this kind."""
        return tuple(removal for removal in self.removals if removal.action is action)

    def only(self, shown: "Decision") -> "Decision":
        """Return what is in both decisions: what people have agreed to, and still nobody needs."""
        agreed = {(removal.key, removal.action) for removal in shown.removals}
        both = (each for each in self.removals if (each.key, each.action) in agreed)
        return Decision(tuple(both), self.kept_young, self.kept_unmarked)


def decide(
    stages: Iterable[HeldStage],
    needs: Needs,
    protected: Protected,
    now: float,
    older_than_s: float = 0.0,
) -> Decision:
    """Return what of these stages nobody needs.

    ``now``: in seconds since the epoch. ``older_than_s``: only what was last written so long ago;
    at least ``YOUNGEST_S``.
    """
    young_s = max(YOUNGEST_S, older_than_s)
    wanted = [(stage, each) for stage in stages for each in _unneeded(stage, needs, protected)]
    old = [(stage, each) for stage, each in wanted if now - stage.changed >= young_s]
    doubtful = [each for stage, each in old if _is_perhaps_marked(stage, each, protected)]
    removals = tuple(each for _, each in old if each not in doubtful)
    return Decision(removals, len(wanted) - len(old), len(doubtful))


def _unneeded(stage: HeldStage, needs: Needs, protected: Protected) -> Iterator[Removal]:
    """Yield what nobody needs of a stage, as far as its age and aliases have no say."""
    if stage.key in protected.working or not stage.readable:
        return
    left = stage.sizes.get(What.LEFT, 0)
    if stage.has_result and not _is_ranking(stage):
        left += stage.sizes.get(What.SNAPSHOTS, 0)
    if not _may_be_needed(stage, needs, protected):
        if size_bytes := stage.size_bytes - stage.sizes.get(What.CLAIMS, 0):
            yield Removal(stage.key, Action.RESULT, size_bytes)
        return
    weights = stage.sizes.get(What.WEIGHTS, 0)
    if weights and stage.key in needs.stages - needs.weights and not protected.unclear:
        yield Removal(stage.key, Action.WEIGHTS, weights + left)
    elif left:
        yield Removal(stage.key, Action.LEFT, left)


def _may_be_needed(stage: HeldStage, needs: Needs, protected: Protected) -> bool:
    """Whether the stage's result stays: a kept grid needs it, an alias marks it, or who knows."""
    marked = stage.key in (protected.marked or ())
    if stage.kind in NEVER or protected.unclear or marked:
        return True
    return stage.key in needs.stages


def _is_perhaps_marked(stage: HeldStage, removal: Removal, protected: Protected) -> bool:
    """Whether the removal would take a checkpoint that an alias may mark."""
    unknown = protected.marked is None and stage.kind == StageKind.PRUNE
    return unknown and removal.action is Action.RESULT


def _is_ranking(stage: HeldStage) -> bool:
    return stage.kind == StageKind.RANKING
