"""A round of SLEB as it is, against running every candidate from the start, in one process.

    python -m benchmarks.bypass_loss MODEL TEXT [--blocks 4] [--tokens 256] [--threads 1]

Both give each layer's loss without it; the seconds are of the process, so that others on the same
cores count little.
"""

import argparse
import time
from collections.abc import Callable, Collection

import torch

from trsp import LanguageModel
from trsp.losses import lm_loss
from trsp.selection.bypass_loss import bypass_losses
from trsp.surgery import bypassed


@torch.no_grad()
def from_the_start(
    lm: LanguageModel, blocks_NT: torch.Tensor, candidates: Collection[int]
) -> dict[int, float]:
    """Return the loss without each candidate, by a whole pass of every block for each of them."""
    losses = {}
    for layer in candidates:
        total = 0.0
        for blocks_BT in blocks_NT.split(max(1, 512 // blocks_NT.shape[1])):
            with bypassed(lm.model, [layer]):
                logits_BTV = lm.model(input_ids=blocks_BT, use_cache=False).logits
            total += len(blocks_BT) * lm_loss(logits_BTV, blocks_BT).item()
        losses[layer] = total / len(blocks_NT)
    return losses


def timed(compute: Callable[[], dict[int, float]]) -> tuple[dict[int, float], float]:
    """Return what it computed, and the seconds of this process that it took."""
    begun = time.process_time()
    return compute(), time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    lm = LanguageModel.load(asked.model)
    blocks_NT = lm.blocks(asked.text, count=asked.blocks, tokens=asked.tokens)
    candidates = range(1, lm.model.config.num_hidden_layers - 1)
    bypass_losses(lm.model, blocks_NT[:1], [1])  # the first pass of a process is slower
    whole, whole_s = timed(lambda: from_the_start(lm, blocks_NT, candidates))
    shared, shared_s = timed(lambda: bypass_losses(lm.model, blocks_NT, candidates))
    same = sorted(whole, key=whole.__getitem__) == sorted(shared, key=shared.__getitem__)
    apart = max(abs(whole[layer] - shared[layer]) for layer in candidates)  # nats per token
    print(f"every candidate from the start {whole_s:.1f} s, from where it differs {shared_s:.1f} s")
    print(
        f"ratio {shared_s / whole_s:.2f}; same order: {same}; largest difference {apart:.1e} nats"
    )


if __name__ == "__main__":
    main()
