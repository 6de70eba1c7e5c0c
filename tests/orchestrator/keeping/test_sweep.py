"""Removing from a store: what goes, and what stays whoever comes or is killed meanwhile."""

from pathlib import Path

import pytest

from orchestrator.coordination.drivers import Drivers
from orchestrator.coordination.process import ProcessIdentity
from orchestrator.keeping.clean import clean
from orchestrator.keeping.decide import Action, Removal
from orchestrator.keeping.survey import Asked
from orchestrator.keeping.sweep import Sweep, Swept, asking
from orchestrator.run import view_of
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.claims import Held, Ticket
from orchestrator.store.store import Store
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import FakeLauncher, controller_of, drive, store_of
from tests.orchestrator.keeping.made_up import age, keep, looked, stages, two_made

HERE = ProcessIdentity.here()
KINDS = (StageKind.RANKING, StageKind.TRANSFER, StageKind.PRUNE, StageKind.EVALUATE)


@pytest.fixture
def both(tmp_path: Path, empty_database: Path) -> tuple[Resolved, Resolved]:
    """A grid that is no longer kept, and one that is, in one store."""
    return two_made(tmp_path, empty_database)


@pytest.fixture
def store(both: tuple[Resolved, Resolved]) -> Store:
    return store_of(both[1])


def swept(grid: Resolved, asked: Asked | None = None) -> Swept:
    asked = asked or Asked()
    return clean(store_of(grid), asked, looked(grid, asked))


def test_what_nobody_needs_is_gone_and_the_other_grid_is_whole(
    both: tuple[Resolved, Resolved], store: Store
) -> None:
    came = swept(both[1])
    assert [len(stages(store, kind)) for kind in KINDS] == [1, 1, 1, 1]
    assert (len(came.removed), came.skipped, came.stopped) == (4, 0, "")
    assert view_of(both[1]).status is Status.DONE
    assert not looked(both[1]).decision.removals


def test_what_is_gone_can_be_made_again(both: tuple[Resolved, Resolved]) -> None:
    swept(both[1])
    assert drive(controller_of(both[0], FakeLauncher())).status is Status.DONE


def test_a_forgotten_grid_is_kept_no_more(both: tuple[Resolved, Resolved], store: Store) -> None:
    assert (
        len(swept(both[1], Asked(forget=("kept",))).removed) == 9
    )  # with the unpruned model's scores
    assert not store.grids.names()


def test_a_stage_that_somebody_has_claimed_is_left_alone(
    both: tuple[Resolved, Resolved], store: Store
) -> None:
    (removal, *_) = looked(both[1]).decision.removals
    store.claims.drivers.say("other", HERE)
    store.claims.take(removal.key, "other")
    came = Sweep(store, asking(store)).remove([removal])
    assert (came.skipped, came.removed) == (1, [])
    assert removal.key in {key for kind in KINDS for key in stages(store, kind)}


class GridComes(Sweep):
    """Somebody starts the grid between the claims and the look for new ones."""

    grid: Resolved

    def _take(self, removal: Removal):  # type: ignore[no-untyped-def]
        taken = super()._take(removal)
        keep(self.grid)
        return taken


def test_results_are_put_back_where_a_grid_comes_that_needs_them(
    both: tuple[Resolved, Resolved], store: Store
) -> None:
    GridComes.grid = both[0]
    came = GridComes(store, asking(store)).remove(looked(both[1]).decision.removals)
    assert (came.removed, "has begun meanwhile" in came.stopped) == ([], True)
    assert view_of(both[0]).status is Status.DONE


class Killed(BaseException):
    """The process ends here."""


class KilledAmidst(Sweep):
    """It is killed once the results are none any more, and their files are there."""

    def _finish(self, taken):  # type: ignore[no-untyped-def]
        raise Killed


def test_after_a_kill_what_is_left_goes_the_next_time(
    both: tuple[Resolved, Resolved], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = asking(store)
    with pytest.raises(Killed):
        KilledAmidst(store, seen).remove(looked(both[1]).decision.removals)
    age(store)
    assert view_of(both[0]).status is not Status.DONE
    monkeypatch.setattr(Drivers, "is_alive", lambda *_: False)  # its process is this one
    swept(both[1])
    assert [len(stages(store, kind)) for kind in KINDS] == [1, 1, 1, 1]


def test_an_attempt_that_was_thought_dead_commits_nothing_afterwards(
    both: tuple[Resolved, Resolved], store: Store
) -> None:
    key = next(r.key for r in looked(both[1]).decision.removals if r.key.startswith("prune-"))
    number, _ = store.claims.log.last(key)
    swept(both[1])
    assert store.claims.log.last(key)[0] > number
    taken = store.claims.take(key, "next")
    assert not isinstance(taken, Held)


def test_what_a_dead_attempt_left_is_gone_and_the_result_stays(
    both: tuple[Resolved, Resolved], store: Store
) -> None:
    (key,) = {*stages(store, StageKind.PRUNE)} - {r.key for r in looked(both[1]).decision.removals}
    store.files.write(f"stages/prune/{key}/files-dead/model.safetensors", b"x" * 1000)
    age(store)
    came = swept(both[1])
    assert [each.size_bytes for each in came.removed if each.action is Action.LEFT] == [1000]
    assert "files-dead" not in store.stages.contents(key)
    assert store.stages.done(key)


def test_what_was_not_shown_stays(both: tuple[Resolved, Resolved], store: Store) -> None:
    shown = looked(both[1])
    store.files.remove_file(f"grids/{both[1].key}.json")
    store.grids.save(both[0].key, store.grids.load(both[0].key))
    keep(both[0])
    assert clean(store, Asked(), shown).removed == []


def test_the_claims_of_a_sweep_are_given_back(
    both: tuple[Resolved, Resolved], store: Store
) -> None:
    removals = looked(both[1]).decision.removals
    swept(both[1])
    assert all(isinstance(store.claims.take(each.key, "next"), Ticket) for each in removals)
    assert not store.claims.drivers.living()
