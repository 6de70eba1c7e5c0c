"""What the stages of a cell compute, read off their inputs."""

from dataclasses import replace

from orchestrator.layouts.workload import Trains, work_of
from orchestrator.stages.stage_specs import StageKind
from tests.orchestrator.layouts.samples import stages
from trsp.config import DriftSettings, GatesSettings, HealSettings, LoraSettings, RandomSettings


def test_what_stages_compute() -> None:
    works = {kind: work_of(spec) for kind, spec in stages().items()}
    trained = {kind: work.trains for kind, work in works.items()}
    assert {kind: trains for kind, trains in trained.items() if trains is not Trains.NOTHING} == {
        StageKind.RANKING: Trains.ADAPTERS,
        StageKind.TRANSFER: Trains.WEIGHTS,
    }
    assert (works[StageKind.TRANSFER].tokens, works[StageKind.TRANSFER].rows) == (2048, 16)
    assert works[StageKind.EVALUATE].tokens == 16
    with_weights = work_of(stages(GatesSettings(train_weights=True))[StageKind.RANKING])
    assert with_weights.trains is Trains.WEIGHTS
    assert work_of(stages(RandomSettings())[StageKind.RANKING]).trains is Trains.NOTHING
    lora = work_of(stages(transfer=DriftSettings(lora=LoraSettings()))[StageKind.TRANSFER])
    assert (lora.trains, lora.lora) == (Trains.ADAPTERS, LoraSettings())


def test_healing_leaves_its_layers_out_and_other_trainings_do_not() -> None:
    healed, annealed = (
        work_of(stages(transfer=transfer)[StageKind.TRANSFER])
        for transfer in (HealSettings(), DriftSettings())
    )
    assert (healed.bypassed, annealed.bypassed) == (2, 0)


def test_auto_is_counted_as_one_row_and_a_number_as_itself() -> None:
    spec = stages()[StageKind.EVALUATE]
    evaluation = spec.locations["evaluation"]
    rows = {}
    for batch_size in ("auto", 8):
        asked = {**spec.locations, "evaluation": {**evaluation, "batch_size": batch_size}}
        rows[batch_size] = work_of(replace(spec, locations=asked)).rows
    assert rows == {"auto": 1, 8: 8}
