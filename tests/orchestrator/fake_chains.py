"""The made-up launcher whose processes go on with the stages that are to follow."""

from dataclasses import replace

from orchestrator.execution.launcher import Finished
from orchestrator.execution.run_stage import StageTask
from orchestrator.scheduler.controller import Controller
from orchestrator.stages.stage_specs import StageKind
from tests.orchestrator.fake_launcher import FakeLauncher


class FakeChains(FakeLauncher):
    """In each process one stage ends at a poll, and the next one begins.

    ``chains``: what each process was given, by kind. ``stops_after``: kinds with which the process
    goes away, and comes to none of those behind.
    """

    hands_over = True

    def __init__(self, *args: object, measures_alone: bool = True, **settings: object) -> None:
        super().__init__(*args, **settings)  # type: ignore[arg-type]
        self.measures_alone = measures_alone
        self.chains = list[list[StageKind]]()
        self.stops_after: set[StageKind] = set()
        self._then = dict[str, tuple[StageTask, ...]]()  # by the key of the stage before them

    def start(self, task: StageTask) -> None:
        self.chains.append([each.spec.kind for each in (task, *task.then)])
        self._begin(task, task.then)

    def _begin(self, task: StageTask, then: tuple[StageTask, ...]) -> None:
        super().start(replace(task, then=()))
        self._then[task.spec.key] = then

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        kinds = {key: task.spec.kind for key, task in self._running.items()}
        finished = list(super().poll(wait_s))
        for each in tuple(finished):
            then = self._then.pop(each.key)
            if each.failure is None and then and kinds[each.key] not in self.stops_after:
                self._begin(then[0], then[1:])
            else:
                finished += [Finished(task.spec.key, None, reached=False) for task in then]
        return tuple(finished)

    def waiting(self, kind: StageKind) -> StageTask:
        """The first stage of this kind that waits for its turn."""
        return next(task for then in self._then.values() for task in then if task.spec.kind is kind)


def of_cells(launcher: FakeChains) -> list[list[StageKind]]:
    """What the processes were given that began with a stage of a cell."""
    alone = (StageKind.RANKING, StageKind.DENSE)
    return [chain for chain in launcher.chains if chain[0] not in alone]


def until_begun(controller: Controller, launcher: FakeChains, kind: StageKind) -> None:
    """Step until the first stage of this kind has begun, and hold it there."""
    while not launcher.tasks(kind):
        controller.step()
    launcher.holds = True
