"""Speed and memory of a model, by the published protocol or a smaller one.

The protocol is in docs/method.md, section 3. Knows no checkpoint or store. Prompt: one forward
pass over random tokens without a cache. Generation: greedy, with the cache, exactly so many new
tokens. Each has one warm-up that is not counted. Times are wall time, means over the repeats, with
the accelerator synchronised.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from trsp.architecture.limits import learned_positions
from trsp.config import MeasurementSettings
from trsp.distributed.device import devices_of, peak_memory_bytes, reset_peak_memory
from trsp.distributed.device_lock import own_devices
from trsp.errors import InvalidInputError, WrongDeviceError
from trsp.evaluation.hardware import cpu_name, is_same_kind
from trsp.evaluation.noise import MAX_CPU_WAIT, MAX_SPREAD, CpuWait, Timing, time_repeats
from trsp.records import MeasurementRecord

ATTEMPTS = 3  # at figures that are not noisy
RETAKE_LIMIT_S = 120.0  # after the first began: a machine so slow is not about to be quiet
_TOKEN_SEED = 0  # the tokens are random, but the same for every model of one vocabulary


@torch.inference_mode()
def measure(
    model: PreTrainedModel,
    settings: MeasurementSettings,
    hardware: str | None = None,
    wait_s: float = 0.0,
    attempts: int = ATTEMPTS,
) -> MeasurementRecord:
    """Return the model's speed and peak memory, on its own device; leaves it in eval mode.

    ``hardware``: what it is to be called, if not what this process sees; WrongDeviceError where it
    is not that. InvalidInputError when the model has learned fewer positions than the
    protocol needs. Waits up to ``wait_s`` seconds for others who compute on the device. What is too
    noisy is taken again, up to ``attempts`` times; the calmest counts, and says so where it is
    noisy, too.
    """
    positions = learned_positions(model.config.to_dict())
    settings = settings.chosen_for(gpu=model.device.type == "cuda", positions=positions)
    _check_positions(positions, settings)
    seen = seen_hardware(model.device)
    _check_hardware(hardware, seen)
    model.eval()
    with own_devices(wait_s) as problem, _plain_generation(model):
        started = time.monotonic()
        devices = devices_of(model)
        reset_peak_memory(*devices)
        takes = _takes(model, settings, 1 if problem else attempts)
        take = min(takes, key=lambda each: each.noise_level)
        return MeasurementRecord(
            hardware=seen,
            prompt_latency_ms=1000 * take.prompt.mean_s,
            prompt_tokens_per_s=_tokens(settings.prompt_batch, settings.prompt_tokens, take.prompt),
            generate_latency_ms=1000 * take.generation.mean_s,
            generate_tokens_per_s=_tokens(
                settings.generate_batch, settings.generate_new_tokens, take.generation
            ),
            peak_memory_bytes=peak_memory_bytes(*devices),
            prompt_spread=take.prompt.spread,
            generate_spread=take.generation.spread,
            noise="; ".join(filter(None, (problem, take.noise))),
            attempts=len(takes),
            seconds=time.monotonic() - started,
        )


@dataclass(frozen=True)
class _Take:
    """The figures of one attempt, and the share of its time that it waited for a CPU."""

    prompt: Timing
    generation: Timing
    cpu_wait: float

    @property
    def noise_level(self) -> float:
        """How noisy the figures are; above 1 they are too noisy."""
        spread = max(self.prompt.relative_spread, self.generation.relative_spread)
        return max(spread / MAX_SPREAD, self.cpu_wait / MAX_CPU_WAIT)

    @property
    def noise(self) -> str:
        """What is too noisy, for people; empty where nothing is."""
        parts = [
            f"{name} latencies spread by {timing.relative_spread:.0%} of their mean"
            for name, timing in (("prompt", self.prompt), ("generation", self.generation))
            if timing.relative_spread > MAX_SPREAD
        ]
        if self.cpu_wait > MAX_CPU_WAIT:
            parts.append(f"others had the CPU for {self.cpu_wait:.0%} of the time")
        return "; ".join(parts)


def _takes(model: PreTrainedModel, settings: MeasurementSettings, attempts: int) -> list[_Take]:
    """Return attempts up to the first that is not too noisy: at most so many, none begun late."""
    takes: list[_Take] = []
    last_start = time.monotonic() + RETAKE_LIMIT_S
    while not takes or (
        takes[-1].noise_level > 1 and len(takes) < attempts and time.monotonic() < last_start
    ):
        wait, devices = CpuWait(), devices_of(model)
        prompt = time_repeats(_prompt_pass(model, settings), settings.prompt_repeats, devices)
        work = _generation(model, settings)
        generation = time_repeats(work, settings.generate_repeats, devices)
        cpu_wait = 0.0 if model.device.type == "cuda" else wait.share()
        takes.append(_Take(prompt, generation, cpu_wait))
    return takes


def _tokens(batch: int, tokens: int, timing: Timing) -> float:
    """Return tokens per second of a batch of so many tokens each."""
    return batch * tokens / timing.mean_s


def seen_hardware(device: torch.device) -> str:
    """Return what this process computes on: ``NVIDIA H100 80GB HBM3``, ``AMD EPYC, 2 threads``."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return cpu_name(torch.get_num_threads())


def _check_hardware(asked: str | None, seen: str) -> None:
    if asked is not None and not is_same_kind(asked, seen):
        raise WrongDeviceError(
            f"measurement: asked for on {asked!r}, but this process computes on {seen!r}; "
            "name the cluster's accelerator in resources.measure_on, or set resources.use_gpus"
        )


@contextmanager
def _plain_generation(model: PreTrainedModel) -> Iterator[None]:
    """Put the checkpoint's own ideas of generation aside: beams, penalties, ends of text.

    ``generate`` takes from them whatever its argument leaves open.
    """
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _check_positions(positions: int | None, settings: MeasurementSettings) -> None:
    if positions is not None and settings.longest > positions:
        raise InvalidInputError(
            f"measurement: the protocol needs {settings.longest} positions and this model has "
            f"{positions}; lower prompt_tokens, generate_prompt_tokens or generate_new_tokens"
        )


def _prompt_pass(model: PreTrainedModel, settings: MeasurementSettings) -> Callable[[], object]:
    tokens_BT = _random_tokens(model, settings.prompt_batch, settings.prompt_tokens)
    return lambda: model(input_ids=tokens_BT, use_cache=False)


def _generation(model: PreTrainedModel, settings: MeasurementSettings) -> Callable[[], object]:
    tokens_BT = _random_tokens(model, settings.generate_batch, settings.generate_prompt_tokens)
    mask_BT = torch.ones_like(tokens_BT)
    new_tokens = settings.generate_new_tokens
    greedy = GenerationConfig(
        do_sample=False,
        use_cache=True,
        min_new_tokens=new_tokens,
        max_new_tokens=new_tokens,
        pad_token_id=0,
    )
    return lambda: model.generate(
        input_ids=tokens_BT, attention_mask=mask_BT, generation_config=greedy
    )


def _random_tokens(model: PreTrainedModel, batch: int, tokens: int) -> Tensor:
    """Return random token ids [batch, tokens] on the model's device."""
    generator = torch.Generator().manual_seed(_TOKEN_SEED)
    tokens_BT = torch.randint(model.config.vocab_size, (batch, tokens), generator=generator)
    return tokens_BT.to(model.device)
