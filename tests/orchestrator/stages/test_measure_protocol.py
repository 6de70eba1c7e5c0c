"""The protocol of a measurement: what is left to the hardware is keyed as what it comes to."""

from dataclasses import replace

import pytest

from orchestrator.stages.stage_specs import measure_spec
from tests.orchestrator.studies import MODEL, study
from trsp.config import MeasurementSettings

CPU, GPU = "AMD EPYC 7B13, 2 threads", "H100"


def key(hardware: str, **settings: object) -> str:
    measurement = MeasurementSettings.model_validate(settings)
    spec = measure_spec(MODEL, study(hardware=hardware, measurement=measurement), ())
    assert spec is not None
    return spec.key


@pytest.mark.parametrize(("hardware", "protocol"), [(CPU, "small"), (GPU, "paper")])
def test_a_cpu_is_measured_by_the_small_protocol_and_a_gpu_by_the_published_one(
    hardware: str, protocol: str
) -> None:
    assert key(hardware) == key(hardware, protocol="auto") == key(hardware, protocol=protocol)


@pytest.mark.parametrize("hardware", [CPU, GPU])
def test_a_protocol_that_is_asked_for_is_taken_on_any_hardware(hardware: str) -> None:
    assert key(hardware, protocol="paper") != key(hardware, protocol="small")


def test_single_values_are_taken_beside_a_protocol_that_is_left_open() -> None:
    few = {"prompt_repeats": 5}
    assert key(CPU, **few) == key(CPU, protocol="small", **few)
    assert key(GPU, **few) == key(GPU, protocol="paper", **few)


@pytest.mark.parametrize(("positions", "protocol"), [(2047, "small"), (2048, "paper")])
def test_a_model_that_cannot_read_the_published_prompt_is_measured_by_the_small_protocol(
    positions: int, protocol: str
) -> None:
    model = replace(MODEL, learned_positions=positions)
    left_open, chosen = (
        measure_spec(model, study(hardware=GPU, measurement=settings), ())
        for settings in (MeasurementSettings(), MeasurementSettings(protocol=protocol))
    )
    assert left_open == chosen
