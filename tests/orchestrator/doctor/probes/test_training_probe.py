"""The small training whose memory ``trsp doctor`` measures."""

from pathlib import Path

import pytest

from orchestrator.doctor.probes import training_probe
from trsp.distributed.device_lock import own_devices


def test_a_measurement_of_another_driver_is_not_disturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRSP_LOCK_DIR", str(tmp_path))
    problems = []

    def train(*given: object) -> None:
        with own_devices(wait_s=0) as problem:
            problems.append(problem)

    monkeypatch.setattr(training_probe, "_load_libraries", lambda: None)
    monkeypatch.setattr(training_probe, "_train", train)
    assert training_probe.measure_training(0).device == "cpu"
    assert problems[0].startswith("others computed on")
