"""The measurement protocol, by counting and timing a tiny model's forward passes."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import PreTrainedModel

from tests.tiny import tiny_model
from trsp.config import MeasurementSettings
from trsp.distributed.device import peak_memory_bytes, reset_peak_memory
from trsp.errors import InvalidInputError
from trsp.evaluation.hardware import hardware_name
from trsp.evaluation.measure import measure

SETTINGS = MeasurementSettings(
    prompt_batch=2,
    prompt_tokens=24,
    prompt_repeats=3,
    generate_batch=4,
    generate_prompt_tokens=8,
    generate_new_tokens=5,
    generate_repeats=2,
)


def eager_to_stop() -> PreTrainedModel:
    """Its most likely next token is always the one that ends a text."""
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    model.generation_config.eos_token_id = 0
    return model


def test_protocol_runs_what_it_says() -> None:
    model = eager_to_stop()
    passes: Counter[tuple[int, ...]] = Counter()

    def count(_: object, __: object, given: dict[str, torch.Tensor]) -> None:
        passes[tuple(given["input_ids"].shape)] += 1

    model.model.register_forward_pre_hook(count, with_kwargs=True)
    record = measure(model, SETTINGS, "a machine")
    assert passes == {
        (2, 24): 3 + 1,  # prompt: the repeats and a warm-up
        (4, 8): 2 + 1,  # generation: the prompts,
        (4, 1): (2 + 1) * (5 - 1),  # then with the cache one token at a time, to the end
    }
    assert record.hardware == "a machine"
    assert record.prompt_tokens_per_s * record.prompt_latency_ms == pytest.approx(1000 * 2 * 24)
    assert record.generate_tokens_per_s * record.generate_latency_ms == pytest.approx(1000 * 4 * 5)
    assert record.peak_memory_bytes > sum(p.numel() * p.element_size() for p in model.parameters())


def test_latencies_are_means_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that only forward passes advance, by 50 ms each."""
    clock_s = 0.0

    def advance(*_: object) -> None:
        nonlocal clock_s
        clock_s += 0.05

    model = tiny_model("llama")
    model.model.register_forward_pre_hook(advance)
    monkeypatch.setattr(
        "trsp.evaluation.measure.time",
        SimpleNamespace(perf_counter=lambda: clock_s, monotonic=lambda: clock_s),
    )
    record = measure(model, SETTINGS, "slow")
    assert record.prompt_latency_ms == pytest.approx(50)
    assert record.generate_latency_ms == pytest.approx(5 * 50)
    assert record.seconds == pytest.approx((4 + 3 * 5) * 0.05)


def test_peak_memory_is_this_works_not_the_past() -> None:
    """200 MB that went before do not count, nor do those of the process that started this one."""
    cpu = torch.device("cpu")
    bytearray(200_000_000)[::4096] = bytes(48829)
    reset_peak_memory(cpu)
    before = peak_memory_bytes(cpu)
    bytearray(100_000_000)[::4096] = bytes(24415)
    assert 80_000_000 < peak_memory_bytes(cpu) - before < 150_000_000
    reset_peak_memory(cpu)
    assert peak_memory_bytes(cpu) - before < 50_000_000


def test_too_few_positions_are_refused() -> None:
    settings = SETTINGS.model_copy(update={"generate_new_tokens": 300})
    with pytest.raises(
        InvalidInputError, match="needs 308 positions and this model has 256; lower"
    ):
        measure(tiny_model("gpt2"), settings, "x")


def test_hardware_names_the_gpu_unless_it_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0000:00:04.0").mkdir()
    (tmp_path / "0000:00:04.0" / "information").write_text(
        "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 11\n"
    )
    (tmp_path / "cpuinfo").write_text(2 * "processor\t: 0\nmodel name\t: AMD EPYC 7B13\n\n")
    monkeypatch.setattr("trsp.evaluation.hardware._GPUS", tmp_path)
    monkeypatch.setattr("trsp.evaluation.hardware._CPU", tmp_path / "cpuinfo")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert hardware_name() == "NVIDIA H100 80GB HBM3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert hardware_name() == "AMD EPYC 7B13, 1 thread"
    assert hardware_name(threads=4) == "AMD EPYC 7B13, 4 threads"


def test_hardware_of_this_machine_has_a_name() -> None:
    assert hardware_name()


def test_computed_positions_have_no_end() -> None:
    settings = SETTINGS.model_copy(update={"generate_new_tokens": 1, "prompt_tokens": 300})
    assert measure(tiny_model("llama", layers=2), settings, "x").prompt_latency_ms > 0
