"""How long a step is held up by a snapshot: written at once, and beside the steps from a copy.

    python benchmarks/snapshots.py [--mb-per-s 100] [--layers 30]

A random model of the shape of SmolLM2-135M in bf16 under ZeRO 2, on the CPU: 1.6 GB a snapshot. The
folder takes so many MB per second, as a store far away would.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from trsp.config import EngineSettings
from trsp.distributed.device import peak_memory_bytes, reset_peak_memory
from trsp.engine import engine_state
from trsp.engine.engine import Engine
from trsp.engine.optimizer_config import OptimizerConfig
from trsp.training.progress import Progress
from trsp.training.snapshots import FolderSnapshots

SHAPE = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
CPU = torch.device("cpu")


class Throttled(FolderSnapshots):
    """Snapshots in a folder that takes ``bytes_per_s``."""

    def __init__(self, folder: Path, bytes_per_s: float) -> None:
        super().__init__(folder)
        self._bytes_per_s = bytes_per_s

    @contextmanager
    def create(self, step: int, file: str) -> Iterator[Any]:
        with super().create(step, file) as stream:
            yield _Stream(stream, self._bytes_per_s)


class _Stream:
    def __init__(self, stream: Any, bytes_per_s: float) -> None:
        self._stream, self._bytes_per_s = stream, bytes_per_s

    def write(self, data: Any) -> int:
        begun = time.monotonic()
        written = int(self._stream.write(data))
        time.sleep(max(0.0, written / self._bytes_per_s - (time.monotonic() - begun)))
        return written


def main() -> None:
    options = _options()
    model: Any = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("llama", **SHAPE, num_hidden_layers=options.layers),
        dtype=torch.bfloat16,
    )
    optimizer = OptimizerConfig(1e-5, steps=100)
    with Engine(model, EngineSettings(zero_stage=2), 1, optimizer) as engine:
        engine.step(_blocks())
        for name, least in (("at once", 1 << 60), ("beside", 0)):
            engine_state.LEAST_COPIED_BYTES = least
            with tempfile.TemporaryDirectory() as folder:
                _measure(name, engine, Throttled(Path(folder), options.mb_per_s * 1e6))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb-per-s", type=float, default=100.0)
    parser.add_argument("--layers", type=int, default=30)
    return parser.parse_args()


def _blocks() -> torch.Tensor:
    return torch.randint(SHAPE["vocab_size"], (1, 64))


def _measure(name: str, engine: Engine, snapshots: FolderSnapshots) -> None:
    """Train until a snapshot is whole; print how long its step and the end were held up."""
    progress = Progress(snapshots, every_s=0.0)
    progress.begin({})
    reset_peak_memory(CPU)
    before = peak_memory_bytes(CPU)
    steps = 0
    with progress:
        engine.step(_blocks())
        held_up = _seconds_of_step(engine, progress, 1)
        progress._every_s = 1e9  # one is enough
        longest = 0.0
        while snapshots.latest() is None:
            engine.step(_blocks())
            steps += 1
            longest = max(longest, _seconds_of_step(engine, progress, 1 + steps))
    more = (peak_memory_bytes(CPU) - before) / 1e9
    later = (
        f"; none of the {steps} steps till it is whole for over {longest:.3f} s" if steps else ""
    )
    print(
        f"{name:>8}: its step is held up for {held_up:.2f} s{later}; peak memory +{more:.2f} GB",
        flush=True,
    )


def _seconds_of_step(engine: Engine, progress: Progress, step: int) -> float:
    begun = time.monotonic()
    progress.step_done(step, engine.save_state, dict, engine.copy_state)
    return time.monotonic() - begun


if __name__ == "__main__":
    main()
