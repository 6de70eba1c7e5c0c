"""What stage two is worth: several second stages with an equal budget, by perplexity.

    python benchmarks/stage_two.py ~/.trsp/assets [--remove 6] [--steps 20] [--learning-rate 2e-4]

ASSETS is the folder that `make demo` fills: a model of 135M parameters and its texts. Layers are
chosen once, by block influence. The model is trained on Wikipedia articles and tested on others and
on C4, on which nothing was trained. Each row is one run: differences of a few per cent are noise.
It takes about a minute per row on two cores with bf16 instructions.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from trsp import (
    BlockInfluenceSettings,
    DriftSettings,
    EngineSettings,
    HealSettings,
    LanguageModel,
    NoTransfer,
)

WINDOWS = {"window_tokens": 256, "max_windows": 24}
Stage = NoTransfer | DriftSettings | HealSettings


def main() -> None:
    options = _options()
    text, model = options.assets / "text", str(options.assets / "SmolLM2-135M-Instruct")
    lm = LanguageModel.load(model, precision="bf16")
    blocks = lm.blocks(text / "wiki-train.jsonl", count=96, tokens=256)
    layers = lm.rank(blocks, options.remove, BlockInfluenceSettings())
    total = lm.model.config.num_hidden_layers
    print(f"layers {sorted(layers)} of {total}; dense: {_perplexities(lm, text)}")
    for name, settings, drift in _stages(options.steps, options.learning_rate):
        lm = LanguageModel.load(model, precision="bf16")
        started = time.monotonic()
        lm.transfer(layers, blocks, settings, drift=drift, engine=EngineSettings(zero_stage=0))
        seconds = time.monotonic() - started
        lm.remove(layers)
        print(f"{name:<36} {_perplexities(lm, text)}  {seconds:4.0f} s", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("assets", type=Path)
    parser.add_argument("--remove", type=int, default=6)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    return parser.parse_args()


def _stages(steps: int, learning_rate: float) -> Iterator[tuple[str, Stage, float]]:
    """Yield name, settings and lambda_2 of every row."""
    budget = {"steps": steps, "blocks_per_step": 2, "learning_rate": learning_rate}
    yield "none", NoTransfer(), 0.0
    yield "drift, paper, lambda_2 1e-3", DriftSettings(preset="paper", **budget), 1e-3
    yield "drift, relative, not annealed, 0.3", DriftSettings(anneal=False, **budget), 0.3
    yield "drift, default (annealed, 0)", DriftSettings(**budget), 0.0
    yield "drift, annealed, 0.1", DriftSettings(**budget), 0.1
    yield "drift, annealed, 1", DriftSettings(**budget), 1.0
    yield "heal (training after deletion)", HealSettings(**budget), 0.0


def _perplexities(lm: LanguageModel, text: Path) -> str:
    """Return the model's perplexities on held-out text, with their standard errors."""
    wiki, c4 = (lm.perplexity(text / name, **WINDOWS) for name in ("wiki-test.jsonl", "c4.jsonl"))
    return f"wiki {wiki.value:6.1f} +- {wiki.stderr:.1f}  c4 {c4.value:6.1f} +- {c4.stderr:.1f}"


if __name__ == "__main__":
    main()
