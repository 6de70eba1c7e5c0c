"""Estimates of memory corrected by what was measured."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.chooser import LayoutChooser
from orchestrator.layouts.estimate import DoesNotFit, layout_for
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.memory import Correction, Memory, Peak
from orchestrator.stages.stage_specs import StageKind, ranking_spec
from orchestrator.store.store import Store
from tests.orchestrator.fake_launcher import resolved
from tests.orchestrator.layouts.samples import B7, SMALL, chosen_by, stages

ESTIMATE = Peak(Memory(weights=100, runtime=10), Memory(weights=1000, runtime=20))


def _measured(measured_bytes: int, runtime_bytes: int = 0) -> Correction:
    document = {
        "estimated_bytes": 100,
        "measured_bytes": measured_bytes,
        "runtime_bytes": runtime_bytes,
    }
    return Correction.from_document(document)


@pytest.mark.parametrize(
    ("measured_bytes", "factor"), [(130, 1.3), (100, 1.0), (70, 1.0), (900, 2.0)]
)
def test_a_factor_is_at_least_1_and_at_most_2(measured_bytes: int, factor: float) -> None:
    assert _measured(measured_bytes).factor == factor


@pytest.mark.parametrize("document", [{}, {"estimated_bytes": 0, "measured_bytes": 1}, {"x": "y"}])
def test_a_document_of_other_content_corrects_nothing(document: dict[str, object]) -> None:
    assert Correction.from_document(document).of(ESTIMATE) == ESTIMATE


def test_the_gpu_is_corrected_where_there_is_one_and_else_the_host() -> None:
    correction = _measured(150, runtime_bytes=25)
    on_gpu, on_host = correction.of(ESTIMATE), correction.of(Peak(ESTIMATE.host))
    assert on_gpu == Peak(ESTIMATE.host, Memory(weights=1500, runtime=25))
    assert on_host == Peak(Memory(weights=150, runtime=20))  # at most twice the runtime's estimate


def test_of_several_kinds_of_device_the_largest_counts() -> None:
    assert Correction.largest([_measured(130), _measured(110, 5)]) == Correction(1.3, 5)
    assert Correction.largest([]) == Correction()


def test_a_model_that_takes_more_than_estimated_gets_more_gpus() -> None:
    """7B under ZeRO-3 on GPUs of 80 GB: estimated on two of them."""
    capacity = Capacity.of([Capacity(64, 8, 10**12, 80 * 10**9)])
    spec = stages()[StageKind.TRANSFER]
    as_estimated = layout_for(spec, B7, capacity, Resources())
    corrected = layout_for(spec, B7, capacity, Resources(), correction=_measured(160))
    assert isinstance(as_estimated, Layout)
    assert isinstance(corrected, Layout)
    assert (as_estimated.ranks, corrected.ranks) == (2, 4)


def test_the_chooser_reads_what_the_store_has_of_the_clusters_devices(tmp_path: Path) -> None:
    grid = resolved(tmp_path, gate_l1=1e-3)
    models = {name: replace(info, shape=SMALL) for name, info in grid.models.items()}
    grid = replace(grid, models=models)
    store = Store(str(tmp_path / "measured"))
    spec = ranking_spec(grid.cells[0], grid.study)

    def chosen() -> Layout:
        return chosen_by(LayoutChooser(grid, store), spec, Capacity(), Capacity())

    plain = chosen()
    document = {"estimated_bytes": 10, "measured_bytes": 15, "runtime_bytes": 0}
    store.memory.save("H100", document)
    assert chosen() == plain
    store.memory.save("cpu", document)
    assert chosen().memory_bytes > plain.memory_bytes > 0


def test_a_refusal_says_that_its_estimate_was_multiplied() -> None:
    capacity = Capacity.of([Capacity(8, 1, 10**11, 24 * 10**9)])
    spec = stages()[StageKind.TRANSFER]
    for correction, is_said in ((Correction(), False), (_measured(160), True)):
        refused = layout_for(spec, B7, capacity, Resources(), correction=correction)
        assert isinstance(refused, DoesNotFit)
        assert ("multiplied by 1.60, as trsp doctor measured" in refused.reason) == is_said
