"""What a store holds is not paid again, and what its stages took is expected of others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.costs.cost import GridCost
from orchestrator.costs.held import cost_in, durations_in
from orchestrator.costs.room import lacking_bytes
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.expected.durations import Knowledge
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import (
    StageKind,
    StageSpec,
    cell_stages,
    dense_spec,
    ranking_spec,
)
from orchestrator.stages.timings import Phase, StageTimings
from orchestrator.store.claims import Ticket
from orchestrator.store.store import Store
from tests.orchestrator.costs.planned import TWO_CORES, of_7b, of_kind
from trsp.records import EvaluationRecord, RoundRecord, TransferRecord

TRAINED = {"transfer": {"name": "drift", "steps": 10, "blocks_per_step": 1}, "drift": 0.1}
SIZE = dict.fromkeys(("layers", "params", "size_bytes", "kv_bytes_per_token"), 1)
CHECKPOINT = {**SIZE, "removed_layers": []}


class Held:
    """A grid of 7B models and its store, into which stages are put as if they had run."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.resolved = of_7b(storage={"store": str(folder)}, **changes)
        self.store = Store(str(folder))

    def cost(self, resolved: Resolved | None = None) -> GridCost:
        return cost_in(self.store, resolved or self.resolved, TWO_CORES)

    def rank(self, rounds: int, seconds: float = 1.0, cell: int = 0) -> StageSpec:
        spec = ranking_spec(self.resolved.cells[cell], self.resolved.study)
        self.store.stages.write_spec(spec)
        for number in range(rounds):
            record = RoundRecord(round=number, layer=20 - number, seconds=seconds)
            self.store.rankings.publish(Ticket(spec.key, 0, "x"), record)
        return spec

    def stages(self, cell: int = 0) -> dict[StageKind, StageSpec]:
        one = self.resolved.cells[cell]
        stages = cell_stages(one, self.resolved.study, range(20, 20 - one.removed, -1))
        return {stage.kind: stage for stage in stages}

    def finish(
        self,
        spec: StageSpec,
        record: dict[str, Any],
        times: StageTimings | None = None,
        **more: Any,
    ) -> None:
        self.store.stages.commit(
            Ticket(spec.key, 0, "x"), spec, record, times=(lambda: times) if times else None, **more
        )

    def finish_dense(self) -> None:
        spec = dense_spec(self.resolved.models["m"], self.resolved.study)
        self.finish(spec, {"checkpoint": CHECKPOINT, "evaluation": {"scores": {}, "seconds": 7.0}})


def left(found: GridCost) -> dict[str, tuple[int, int]]:
    return {each.kind: (each.left, each.stages) for each in found.kinds}


def trained(seconds: float) -> dict[str, Any]:
    return TransferRecord(layers=(8, 7), seconds=seconds).model_dump(mode="json")


def test_an_empty_store_holds_nothing(tmp_path: Path) -> None:
    assert all(each.left == each.stages for each in Held(tmp_path).cost().kinds)


def test_stages_that_are_done_are_not_left(tmp_path: Path) -> None:
    held = Held(tmp_path)
    before = held.cost()
    held.finish_dense()
    after = held.cost()
    assert left(after)["dense"] == (0, 1)
    assert after.core_hours.likely < before.core_hours.likely


def test_of_a_ranking_the_rounds_that_it_lacks_are_left(tmp_path: Path) -> None:
    held = Held(tmp_path)
    before = of_kind(held.cost(), StageKind.RANKING)
    held.rank(4, seconds=0.0)
    after = of_kind(held.cost(), StageKind.RANKING)
    assert (before.left, after.left) == (1, 1)
    assert after.core_hours.likely == pytest.approx(before.core_hours.likely / 2, rel=0.1)


def test_a_ranking_that_is_deep_enough_is_done(tmp_path: Path) -> None:
    held = Held(tmp_path)
    held.rank(8)
    assert left(held.cost())["rank"] == (0, 1)


def test_published_layers_say_which_cells_share(tmp_path: Path) -> None:
    """Two strengths that have chosen the same layers need one checkpoint, for certain."""
    held = Held(tmp_path, gate_l1=[1e-3, 1e-2])
    assert left(held.cost())["prune"] == (2, 2)
    for cell in range(2):
        held.rank(8, cell=cell)
    kept = held.cost().kept_bytes
    assert left(held.cost())["prune"] == (1, 1)
    assert kept.low == kept.high


def test_weights_of_a_training_whose_checkpoint_is_there_are_not_made_again(tmp_path: Path) -> None:
    held = Held(tmp_path, **TRAINED)
    held.rank(8)
    held.finish(held.stages()[StageKind.PRUNE], CHECKPOINT)
    found = left(held.cost())
    assert (found["transfer"], found["prune"], found["evaluate"]) == ((0, 1), (0, 1), (1, 1))


def test_all_done_takes_no_time(tmp_path: Path) -> None:
    held = Held(tmp_path, measurement={"protocol": "none"})
    held.rank(8)
    held.finish_dense()
    stages = held.stages()
    held.finish(stages[StageKind.PRUNE], CHECKPOINT)
    scores = EvaluationRecord(scores={}, seconds=1).model_dump(mode="json")
    held.finish(stages[StageKind.EVALUATE], scores)
    found = held.cost()
    assert found.left == 0
    assert found.makespan_s is not None
    assert (found.makespan_s.high, found.kept_bytes.high) == (0, 0)


# --- what is learned -----------------------------------------------------------


def expects(held: Held, resolved: Resolved, kind: StageKind, layout: Layout) -> Knowledge:
    spec = next(each for each in stages_of(resolved) if each.kind is kind)
    return durations_in(held.store, resolved).knowledge(spec, layout)


def stages_of(resolved: Resolved) -> tuple[StageSpec, ...]:
    cell = resolved.cells[0]
    return (ranking_spec(cell, resolved.study), *cell_stages(cell, resolved.study, range(8)))


def test_what_a_training_took_is_expected_of_another_grids(tmp_path: Path) -> None:
    """The other grid has another strength, so that none of its stages is in the store."""
    held = Held(tmp_path, **TRAINED)
    other = of_7b(storage={"store": str(tmp_path)}, **{**TRAINED, "drift": 0.5})
    before = of_kind(held.cost(other), StageKind.TRANSFER)
    seconds: dict[str, float] = {Phase.START: 500, Phase.IMPORTS: 50, Phase.COMPUTE: 9000}
    held.finish(held.stages()[StageKind.TRANSFER], trained(1.0), StageTimings(0, 1, 2, seconds))
    after = of_kind(held.cost(other), StageKind.TRANSFER)
    assert before.rests_on == "nothing"
    assert after.each_s == pytest.approx(9000, abs=1)
    assert after.core_hours.high == pytest.approx(1.15 * after.core_hours.likely)


def test_other_kinds_are_expected_by_what_the_device_did(tmp_path: Path) -> None:
    held = Held(tmp_path, **TRAINED)
    held.finish(held.stages()[StageKind.TRANSFER], trained(9000.0))
    found = expects(held, held.resolved, StageKind.RANKING, Layout())
    assert found is Knowledge.DEVICE


def test_rounds_that_are_there_are_learned_from(tmp_path: Path) -> None:
    held = Held(tmp_path)
    held.rank(4, seconds=100.0)
    assert of_kind(held.cost(), StageKind.RANKING).each_s == pytest.approx(750, rel=0.07)


def test_scores_are_learned_from_by_the_checkpoint_that_they_read(tmp_path: Path) -> None:
    held = Held(tmp_path)
    stages = held.stages()
    held.finish(stages[StageKind.PRUNE], {**CHECKPOINT, "seconds": 1.0})
    held.finish(stages[StageKind.EVALUATE], {"scores": {}, "seconds": 300.0})
    assert of_kind(held.cost(), StageKind.EVALUATE).each_s == pytest.approx(300, abs=1)


def test_what_a_gpu_took_is_learned_of_its_type_and_of_any(tmp_path: Path) -> None:
    held = Held(tmp_path, **TRAINED)
    times = StageTimings(0, 1, 2, {Phase.COMPUTE: 100.0}, gpus=1.0)
    device = {"device": "NVIDIA H100 80GB HBM3"}
    transfer = held.stages()[StageKind.TRANSFER]
    held.finish(transfer, trained(1.0), times, versions=device)
    known = {
        name: expects(held, held.resolved, StageKind.TRANSFER, Layout(gpus=1, gpu_type=name))
        for name in ("", "H100", "A100")
    }
    assert known == {
        "": Knowledge.MODEL,
        "H100": Knowledge.MODEL,
        "A100": Knowledge.NOTHING,
    }


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    held = Held(tmp_path, **TRAINED)
    spec = held.stages()[StageKind.TRANSFER]
    held.finish(spec, trained(1.0))
    Path(held.store.stages.uri(spec.key), "spec.json").write_text("[]")
    assert expects(held, held.resolved, StageKind.TRANSFER, Layout()) is Knowledge.NOTHING


def test_other_models_say_nothing(tmp_path: Path) -> None:
    held = Held(tmp_path, **TRAINED)
    held.finish(held.stages()[StageKind.TRANSFER], trained(9000.0))
    model = replace(held.resolved.models["m"], fingerprint="sha256:other")
    other = replace(held.resolved, models={"m": model})
    assert durations_in(held.store, other).knowledge(stages_of(other)[1], Layout()) is (
        Knowledge.NOTHING
    )


# --- room ----------------------------------------------------------------------


class _Disk:
    free = 0


def test_a_disk_lacks_what_is_kept_and_passes_beyond_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(tmp_path, gate_l1=[1e-3, 1e-2])
    found = held.cost()
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Disk)
    monkeypatch.setattr(_Disk, "free", round(found.kept_bytes.low) - 1000)
    assert lacking_bytes(found, held.store) == 1000
    monkeypatch.setattr(_Disk, "free", round(found.kept_bytes.low))
    assert lacking_bytes(found, held.store) == 0, "it may be enough: they may share"
