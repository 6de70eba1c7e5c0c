"""The measurement protocol, by counting and timing a tiny model's forward passes."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import GenerationConfig, PreTrainedModel

from tests.tiny import tiny_model
from trsp.config import MeasurementSettings
from trsp.distributed.device import peak_memory_bytes, reset_peak_memory
from trsp.distributed.device_lock import share_devices
from trsp.errors import InvalidInputError, WrongDeviceError
from trsp.evaluation.measure import measure
from trsp.records import MeasurementRecord

SETTINGS = MeasurementSettings(
    prompt_batch=2,
    prompt_tokens=24,
    prompt_repeats=3,
    generate_batch=4,
    generate_prompt_tokens=8,
    generate_new_tokens=5,
    generate_repeats=2,
)


QUIET_LEVEL = 1e9  # nothing is too noisy


@pytest.fixture(autouse=True)
def whatever_else_this_machine_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured again because of what runs beside the tests."""
    monkeypatch.setattr("trsp.evaluation.measure.MAX_SPREAD", QUIET_LEVEL)
    monkeypatch.setattr("trsp.evaluation.measure.MAX_CPU_WAIT", QUIET_LEVEL)


def eager_to_stop() -> PreTrainedModel:
    """Its most likely next token is always the one that ends a text."""
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    model.generation_config.eos_token_id = 0
    return model


def counted_passes(model: PreTrainedModel) -> Counter[tuple[int, ...]]:
    """Return a count, as yet empty, of the shapes of token ids that the model will be given."""
    passes: Counter[tuple[int, ...]] = Counter()

    def count(_: object, __: object, given: dict[str, torch.Tensor]) -> None:
        passes[tuple(given["input_ids"].shape)] += 1

    model.model.register_forward_pre_hook(count, with_kwargs=True)
    return passes


PROTOCOL = {
    (2, 24): 3 + 1,  # prompt: the repeats and a warm-up
    (4, 8): 2 + 1,  # generation: the prompts,
    (4, 1): (2 + 1) * (5 - 1),  # then with the cache one token at a time, to the end
}


def test_protocol_runs_what_it_says() -> None:
    model = eager_to_stop()
    passes = counted_passes(model)
    record = measure(model, SETTINGS)
    assert passes == PROTOCOL
    assert (record.noise, record.attempts) == ("", 1)
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
    fake = SimpleNamespace(perf_counter=lambda: clock_s, monotonic=lambda: clock_s)
    monkeypatch.setattr("trsp.evaluation.measure.time", fake)
    monkeypatch.setattr("trsp.evaluation.noise.time", fake)
    record = measure(model, SETTINGS)
    assert record.prompt_latency_ms == pytest.approx(50)
    assert record.generate_latency_ms == pytest.approx(5 * 50)
    assert record.seconds == pytest.approx((4 + 3 * 5) * 0.05)
    assert record.prompt_spread
    assert record.generate_spread
    spreads = (record.prompt_spread, record.generate_spread)
    assert [spread.repeats for spread in spreads] == [3, 2]
    assert [spread.median_ms for spread in spreads] == pytest.approx([50, 250])
    assert [spread.stdev_ms for spread in spreads] == pytest.approx([0, 0], abs=1e-6)


def test_generation_takes_nothing_from_the_checkpoint() -> None:
    model = eager_to_stop()
    own = GenerationConfig(
        num_beams=4,
        repetition_penalty=1.3,
        cache_implementation="static",
        eos_token_id=0,
        max_time=0.0,
        bad_words_ids=[[1]],
    )
    model.generation_config = own
    passes = counted_passes(model)
    measure(model, SETTINGS)
    assert passes == PROTOCOL
    assert model.generation_config is own


def test_what_is_too_noisy_is_taken_again_and_the_calmest_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a clock by which prompts of the first attempt are uneven, and of the second less so."""
    seconds = iter([1, 1, 9, 1, 1, 1, 2, 1, 1, 1, 3, 1])
    clock_s = 0.0

    def advance(_: object, __: object, given: dict[str, torch.Tensor]) -> None:
        nonlocal clock_s
        clock_s += next(seconds) if given["input_ids"].shape[1] == 24 else 1

    model = tiny_model("llama")
    model.model.register_forward_pre_hook(advance, with_kwargs=True)
    fake = SimpleNamespace(perf_counter=lambda: clock_s, monotonic=lambda: clock_s)
    monkeypatch.setattr("trsp.evaluation.noise.time", fake)
    monkeypatch.setattr("trsp.evaluation.measure.MAX_SPREAD", 0.1)
    record = measure(model, SETTINGS, attempts=3)
    assert record.attempts == 3
    assert record.prompt_latency_ms == pytest.approx(1000 * (1 + 2 + 1) / 3)
    assert record.noise == "prompt latencies spread by 43% of their mean"
    assert record.doubt == f"noisy: {record.noise}"


def test_a_calm_attempt_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = iter([0.5, 0.05])
    monkeypatch.setattr(
        "trsp.evaluation.measure.CpuWait", lambda: SimpleNamespace(share=lambda: next(waits))
    )
    monkeypatch.setattr("trsp.evaluation.measure.MAX_CPU_WAIT", 0.1)
    record = measure(tiny_model("llama"), SETTINGS)
    assert (record.attempts, record.noise) == (2, "")


def test_others_on_the_cpu_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = SimpleNamespace(share=lambda: 0.5)
    monkeypatch.setattr("trsp.evaluation.measure.CpuWait", lambda: busy)
    monkeypatch.setattr("trsp.evaluation.measure.MAX_CPU_WAIT", 0.1)
    record = measure(tiny_model("llama"), SETTINGS, attempts=1)
    assert record.noise == "others had the CPU for 50% of the time"


def test_a_device_that_stays_taken_is_measured_all_the_same_and_marked(tmp_path: Path) -> None:
    with share_devices(wait_s=0):
        record = measure(tiny_model("llama"), SETTINGS, wait_s=0.2)
    assert record.noise == "others computed on cpu meanwhile"
    assert record.attempts == 1
    assert record.seconds < 5


def test_records_from_before_spreads_were_kept_are_read_and_doubted() -> None:
    old = measure(tiny_model("llama"), SETTINGS).model_dump(
        exclude={"prompt_spread", "generate_spread", "noise", "attempts"}
    )
    assert "before devices were locked" in MeasurementRecord.model_validate(old).doubt


def test_the_record_says_what_the_process_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trsp.evaluation.measure.cpu_name", lambda threads: f"Zen, {threads}t")
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    model = tiny_model("llama")
    monkeypatch.setattr("trsp.evaluation.measure.is_same_kind", lambda asked, seen: True)
    assert measure(model, SETTINGS, "AMD EPYC, 2 threads").hardware == "Zen, 3t"


def test_another_kind_of_device_than_asked_for_is_refused() -> None:
    with pytest.raises(WrongDeviceError, match=r"asked for on 'H100'.*resources.measure_on"):
        measure(tiny_model("llama"), SETTINGS, "H100")


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
        measure(tiny_model("gpt2"), settings)


def test_computed_positions_have_no_end() -> None:
    settings = SETTINGS.model_copy(update={"generate_new_tokens": 1, "prompt_tokens": 300})
    assert measure(tiny_model("llama", layers=2), settings).prompt_latency_ms > 0
