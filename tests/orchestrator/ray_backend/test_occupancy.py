"""What a cluster has for one launcher, with Ray's figures given by hand."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from orchestrator.execution.stage_task import StageTask
from orchestrator.layouts.layout import Layout
from orchestrator.ray_backend import occupancy
from orchestrator.ray_backend.occupancy import LOOK_S, Occupancy
from orchestrator.ray_backend.sharing.begun import Begun, Sign, Signs
from orchestrator.ray_backend.sharing.submitted import Submitted
from orchestrator.stages.stage_specs import StageKind, StageSpec


@dataclass
class SaidByHand(Signs):
    """What processes say, without the control service of a Ray."""

    said: dict[Sign, Begun] = field(default_factory=dict)
    requests: int = 0

    def read(self, signs: Iterable[Sign]) -> dict[Sign, Begun]:
        self.requests += 1
        return {sign: self.said[sign] for sign in signs if sign in self.said}

    def forget(self, sign: Sign) -> None:
        self.said.pop(sign, None)


@dataclass
class World:
    """A node ``a`` of 4 CPUs, of which so many are free by Ray's figures, and a clock."""

    occupancy: Occupancy
    signs: SaidByHand
    free: float = 4
    now: float = 0.0
    looks: int = 0

    def cpus(self, *attempts: Submitted) -> int:
        self.now += LOOK_S
        return self.occupancy.capacity(attempts).cpus


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    signs = SaidByHand()
    made = World(Occupancy(False, signs, lambda: made.now), signs)

    def free() -> dict[str, dict[str, float]]:
        made.looks += 1
        return {"a": {"CPU": made.free}}

    nodes = [{"NodeID": "a", "NodeManagerAddress": "10.0.0.1", "Resources": {"CPU": 4.0}}]
    monkeypatch.setattr(occupancy, "staying_nodes", lambda: nodes)
    monkeypatch.setattr(occupancy, "available_resources_per_node", free)
    return made


def attempt(ranks: int = 1) -> Submitted:
    task = StageTask(StageSpec(StageKind.PRUNE, {}), "store", Layout(ranks=ranks))
    return Submitted(None, task, Sign(f"launcher/{ranks}/"), {"CPU": 1.0})


def test_what_others_hold_is_not_there_for_us(world: World) -> None:
    world.free = 1
    assert world.cpus() == 1


def test_our_own_stages_are_told_from_others_before_and_after_they_speak(world: World) -> None:
    ours = attempt()
    world.free = 2
    assert world.cpus() == 2
    world.free = 1
    assert world.cpus(ours) == 2, "Ray has placed it, and it has not spoken yet"
    world.signs.said[ours.sign] = Begun(True, {0: "a"})
    assert world.cpus(ours) == 2
    world.occupancy.end(ours)
    assert world.cpus() == 2, "Ray has not counted its end yet"
    world.free = 2
    assert world.cpus() == 2


def test_a_stage_that_ended_before_its_sign_was_read_is_known_by_it(world: World) -> None:
    ours = attempt()
    assert world.cpus() == 4
    world.free = 3
    world.signs.said[ours.sign] = Begun(True, {0: "a"})
    world.occupancy.end(ours)
    assert world.cpus() == 4


def test_a_look_is_believed_for_a_while_unless_a_stage_has_ended(world: World) -> None:
    assert world.cpus() == 4
    world.free = 1
    assert world.occupancy.capacity([]).cpus == 4
    world.occupancy.end(attempt())
    assert world.occupancy.capacity([]).cpus == 1
    assert world.looks == 2


def test_nothing_is_asked_of_those_that_have_said_all(world: World) -> None:
    ours = attempt(ranks=2)
    world.signs.said[ours.sign] = Begun(True, {0: "a"})
    world.cpus(ours)
    world.cpus(ours)
    assert world.signs.requests == 2, "one of its ranks has not spoken"
    world.signs.said[ours.sign] = Begun(True, {0: "a", 1: "a"})
    world.cpus(ours)
    world.cpus(ours)
    assert world.signs.requests == 3
