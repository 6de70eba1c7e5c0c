"""What our evaluation costs beside a plain batched forward pass of the same tokens.

    python benchmarks/evaluation.py MODEL [--dtype bf16] [--windows 4] [--window-tokens 512]
                                    [--items 32] [--repeats 3]

MODEL is a folder or hub id; the tokens are random. Windows are scored as ``evaluate`` does for a
perplexity. Items are log-likelihood requests of a benchmark's lengths, scored as ``evaluate`` has
lm-eval do it, with its own class for comparison. The plain pass makes all logits of the same
batches, padded tokens included, and does nothing with them. All take turns within one run, so that
a busy machine slows them alike; printed are medians and the median ratio of neighbours: ours over
plain, in tokens per second.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from trsp.batch_sizes import rows_at_once
from trsp.checkpoints.checkpoint import load_model, load_tokenizer
from trsp.distributed.device import default_device, synchronize
from trsp.evaluation.evaluate import windows_nll
from trsp.evaluation.lm_eval_model import TokenBatchedLM, lm_eval_model

CONTEXT_TOKENS = (20, 120)  # of an item: from the shortest to the longest
CONTINUATION_TOKENS = (2, 25)
Way = Callable[[], object]


def windows(vocabulary: int, count: int, tokens: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocabulary, (count, tokens), generator=generator)


def requests(vocabulary: int, items: int) -> list[Any]:
    """Return four requests per item that share its context, as multiple choice has them."""
    rng = random.Random(0)

    def ids(shortest: int, longest: int) -> list[int]:
        return [rng.randrange(vocabulary) for _ in range(rng.randint(shortest, longest))]

    contexts = [ids(*CONTEXT_TOKENS) for _ in range(items)]
    return [(None, context, ids(*CONTINUATION_TOKENS)) for context in contexts for _ in range(4)]


@torch.inference_mode()
def plain_passes(model: Any, batches: list[Tensor]) -> None:
    """Make the logits of every batch."""
    for tokens_BT in batches:
        model(input_ids=tokens_BT.to(model.device), use_cache=False)


def padded_batches(lm: TokenBatchedLM, asked: list[Any]) -> list[Tensor]:
    """Return the batches that ``lm`` makes of the requests, padded."""
    inputs = {tuple((context + continuation)[:-1]): None for _, context, continuation in asked}
    return [
        pad_sequence([torch.tensor(ids) for ids in batch], batch_first=True)
        for batch in lm._batches(inputs)
    ]


def interleaved(ways: Mapping[str, Way], repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each way, ``repeats`` of each, taken in turn after a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, way in ways.items():
            synchronize(default_device())
            started = time.perf_counter()
            way()
            synchronize(default_device())
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def print_rates(what: str, tokens: int, seconds: Mapping[str, list[float]]) -> None:
    """Print the tokens per second of every way, and each over the plain pass."""
    print(f"{what}, {tokens} tokens with padding:")
    plain = seconds["plain"]
    for name, each in seconds.items():
        ratio = statistics.median(b / a for a, b in zip(each, plain, strict=True))
        rate = tokens / statistics.median(each)
        print(f"  {name:<16} {rate:9.0f} tokens/s, {ratio:.3f} of plain", flush=True)


def main() -> None:
    options = _options()
    model = load_model(options.model, None, options.dtype)
    vocabulary = model.config.vocab_size
    print(f"{options.model}, {model.dtype}, {model.device}, {torch.get_num_threads()} threads")
    tokens_NT = windows(vocabulary, options.windows, options.window_tokens)
    batches = list(tokens_NT.split(rows_at_once(model, options.window_tokens)))
    ways = {
        "plain": lambda: plain_passes(model, batches),
        "perplexity": lambda: windows_nll(model, tokens_NT),
    }
    print_rates("windows", tokens_NT.numel(), interleaved(ways, options.repeats))
    asked = requests(vocabulary, options.items)
    tokenizer = load_tokenizer(options.model)
    ours = lm_eval_model(model, tokenizer, "auto")
    theirs = lm_eval_model(model, tokenizer, 8)
    padded = padded_batches(ours, asked)
    ways = {
        "plain": lambda: plain_passes(model, padded),
        "ours (auto)": lambda: ours._loglikelihood_tokens(asked),
        "lm-eval's, 8": lambda: theirs._loglikelihood_tokens(asked, disable_tqdm=True),
    }
    tokens = sum(each.numel() for each in padded)
    print_rates("lm-eval's requests", tokens, interleaved(ways, options.repeats))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--dtype", default="auto", choices=["auto", "bf16", "fp32"])
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--window-tokens", type=int, default=512)
    parser.add_argument("--items", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
