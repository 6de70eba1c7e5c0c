"""What to start, retry or give up, decided from frozen facts. Pure: no clock, log, counter or cluster inside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.stages import Kind, StageSpec

# Rankings hold up the most cells, so they go first; then whatever finishes a cell soonest. Measuring comes last: on CPU it
# wants the machine for itself.
PRIORITY: Sequence[Kind] = (Kind.RANK, Kind.PRUNE, Kind.EVALUATE, Kind.DENSE, Kind.TRANSFER, Kind.MEASURE)


@dataclass(frozen=True)
class Attempts:
    """What happened to a stage in this run of the driver."""

    failed: int = 0
    message: str = ""
    retryable: bool = True


@dataclass(frozen=True)
class Facts:
    """``needs``: distinct stages that some cell needs now. ``foreign``: key -> who else works on it. Counts are slots."""

    needs: Sequence[StageSpec]
    running: Mapping[str, Kind] = field(default_factory=dict)
    attempts: Mapping[str, Attempts] = field(default_factory=dict)
    foreign: Mapping[str, str] = field(default_factory=dict)
    slots: int = 1
    measure_alone: bool = True


@dataclass(frozen=True)
class Start:
    spec: StageSpec
    attempt: int


@dataclass(frozen=True)
class GiveUp:
    spec: StageSpec
    reason: str


@dataclass(frozen=True)
class Wait:
    spec: StageSpec
    reason: str


Decision = Start | GiveUp | Wait


def decide(facts: Facts, *, max_attempts: int) -> tuple[Decision, ...]:
    """One decision a needed stage that is not running, in order of priority."""
    decisions: list[Decision] = []
    free = facts.slots - len(facts.running)
    alone = facts.measure_alone and Kind.MEASURE in facts.running.values()
    started = 0
    for spec in sorted(facts.needs, key=lambda need: PRIORITY.index(need.kind)):
        attempts = facts.attempts.get(spec.key, Attempts())
        if spec.key in facts.running:
            continue
        if attempts.failed >= max_attempts or (attempts.failed and not attempts.retryable):
            decisions.append(GiveUp(spec, attempts.message))
        elif spec.key in facts.foreign:
            decisions.append(Wait(spec, f"{facts.foreign[spec.key]} works on it"))
        elif alone:
            decisions.append(Wait(spec, "a measurement has the machine for itself"))
        elif spec.kind is Kind.MEASURE and facts.measure_alone and (facts.running or started):
            decisions.append(Wait(spec, "waits for a quiet machine"))
        elif started >= free:
            decisions.append(Wait(spec, "waits for a free slot"))
        else:
            decisions.append(Start(spec, attempts.failed + 1))
            started += 1
            alone = facts.measure_alone and spec.kind is Kind.MEASURE
    return tuple(decisions)
