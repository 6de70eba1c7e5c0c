"""Speed and memory of a model, by the published protocol or a smaller one.

The protocol is in docs/method.md, section 3. Knows no checkpoint or store. Prompt: one forward
pass over random tokens without a cache. Generation: greedy, with the cache, exactly so many new
tokens. Each has one warm-up that is not counted. Times are wall time, means over the repeats, with
the accelerator synchronised.
"""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from trsp.architecture.limits import learned_positions
from trsp.config import MeasurementSettings
from trsp.distributed.device import (
    devices_of,
    peak_memory_bytes,
    reset_peak_memory,
    synchronize,
)
from trsp.errors import InvalidInputError
from trsp.records import MeasurementRecord

_TOKEN_SEED = 0  # the tokens are random, but the same for every model of one vocabulary


@torch.inference_mode()
def measure(
    model: PreTrainedModel, settings: MeasurementSettings, hardware: str
) -> MeasurementRecord:
    """Return the model's speed and peak memory, on its own device; leaves it in eval mode.

    ``hardware`` is a label for the record, see ``hardware_name``. InvalidInputError when the model
    has learned fewer positions than the protocol needs.
    """
    started = time.monotonic()
    _check_positions(model, settings)
    model.eval()
    devices = devices_of(model)
    reset_peak_memory(*devices)
    prompt_s = _mean_seconds(_prompt_pass(model, settings), settings.prompt_repeats, devices)
    generate_s = _mean_seconds(_generation(model, settings), settings.generate_repeats, devices)
    return MeasurementRecord(
        hardware=hardware,
        prompt_latency_ms=1000 * prompt_s,
        prompt_tokens_per_s=settings.prompt_batch * settings.prompt_tokens / prompt_s,
        generate_latency_ms=1000 * generate_s,
        generate_tokens_per_s=settings.generate_batch * settings.generate_new_tokens / generate_s,
        peak_memory_bytes=peak_memory_bytes(*devices),
        seconds=time.monotonic() - started,
    )


def _check_positions(model: PreTrainedModel, settings: MeasurementSettings) -> None:
    needed = max(
        settings.prompt_tokens, settings.generate_prompt_tokens + settings.generate_new_tokens
    )
    positions = learned_positions(model.config.to_dict())
    if positions is not None and needed > positions:
        raise InvalidInputError(
            f"measurement: the protocol needs {needed} positions and this model has {positions}; "
            "lower prompt_tokens, generate_prompt_tokens or generate_new_tokens"
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


def _mean_seconds(
    work: Callable[[], object], repeats: int, devices: Sequence[torch.device]
) -> float:
    """Return the mean wall time of ``work``, in seconds, after one call that does not count."""
    work()
    synchronize(*devices)
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronize(*devices)
    return (time.perf_counter() - started) / repeats
