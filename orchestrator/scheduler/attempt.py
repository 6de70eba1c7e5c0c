"""An attempt at a stage, from its start to its end, as a driver knows it."""

from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.layouts.layout import Layout
from orchestrator.layouts.workload import Trains, work_of
from orchestrator.scheduler.retries import Attempts
from orchestrator.stages.stage_specs import StageKind, StageSpec


class Progress(NamedTuple):
    """How far a stage that is not done has come; more of either is greater."""

    rounds: int  # published, of a ranking
    steps: int  # in the newest snapshot, of a training


@dataclass(frozen=True)
class Attempt:
    """An attempt at a stage, which was started, and runs now or waits for its place.

    It may wait in the cluster for nodes that come, in its process for its device, and for its turn
    there where it follows another stage of its cell.
    """

    spec: StageSpec
    layout: Layout  # chosen for it alone
    started: float
    progress: Progress  # when it was started
    name: str = ""  # unique among the attempts at the stage
    began: float | None = None  # when it was first seen to compute; None while it waits
    timed_out: bool = False  # whether the controller cancelled it for that
    unwanted: bool = False  # whether it was cancelled, for nobody needs it any more
    chain: str = ""  # of stages in one process, the key of the first; empty where it is alone
    shared_room: Layout | None = None  # what all of these have; None where it is alone

    @property
    def room(self) -> Layout:
        """What its process takes of the cluster."""
        return self.shared_room or self.layout

    def left_s(self, now: float, expected_s: float | None) -> float | None:
        """Return for how long it is going to run; None where that is not known.

        What takes longer than expected takes a tenth more, each time that it is asked. Expected of
        a ranking are the rounds that it lacks now, which says all.
        """
        if expected_s is None or self.spec.kind is StageKind.RANKING or self.began is None:
            return expected_s
        return max(expected_s - (now - self.began), expected_s / 10)


def note_on(attempt: Attempt, before: Attempts | None, passed_to: StageKind | None) -> str:
    """Return what is out of the ordinary about a running attempt, for people; "" where nothing is.

    ``before``: the attempts that failed, None where none has. ``passed_to``: the stage that
    computes since this one has.
    """
    parts = [f"handed over to {passed_to}"] if passed_to else []
    if before is not None:
        parts.append(f"again after {before.message}")
        if before.lr_scale != 1.0:
            parts.append(f"{before.lr_scale:g} of the learning rate")
    trains_again = before is not None and work_of(attempt.spec).trains is not Trains.NOTHING
    if attempt.layout.ranks > 1 or trains_again:
        parts.append(attempt.layout.text)
    return "; ".join(parts)
