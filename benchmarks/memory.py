"""Estimated against measured peak memory of a rank, on the CPU.

    python benchmarks/memory.py [--only NAME]   # both stages, about 20 s per row
    python benchmarks/memory.py --large         # the tables of large_models.py; nothing is run

Measured is the peak resident set of the largest rank, each a fresh process of memory_rank.py: from
its start through loading, three steps and giving the model back. Random weights of wide models, so
that the terms to be checked are larger than Python and its libraries.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.layouts.layout import Layout
from orchestrator.layouts.peak import peak
from orchestrator.layouts.workload import Trains, Work
from orchestrator.stages.stage_specs import StageKind
from trsp.architecture.shape import ModelShape, model_shape
from trsp.config import EngineSettings, LoraSettings

LAYERS_OUT = (2, 3)  # by transfer, heal and lora
RANK_PROGRAM = Path(__file__).resolve().with_name("memory_rank.py")
WIDE = {
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 6,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "vocab_size": 8192,
    "tie_word_embeddings": False,
}
DEEP = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
QWEN = {
    "model_type": "qwen3",
    "hidden_size": 1024,
    "intermediate_size": 2048,
    "num_hidden_layers": 8,
    "head_dim": 128,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 16384,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Run:
    """One row of the table: a stage of a model on ``ranks`` ranks."""

    name: str
    config: dict[str, Any]
    stage: str  # gates, transfer, heal or lora
    tokens: int
    ranks: int = 1
    blocks: int = 1
    dtype: str = "bfloat16"
    engine: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> ModelShape:
        return model_shape({**self.config, "dtype": self.dtype})

    @property
    def work(self) -> Work:
        lora = LoraSettings() if self.stage == "lora" else None
        kind = StageKind.RANKING if self.stage == "gates" else StageKind.TRANSFER
        trains = Trains.WEIGHTS if self.stage in ("transfer", "heal") else Trains.ADAPTERS
        bypassed = len(LAYERS_OUT) if self.stage == "heal" else 0
        return Work(kind, trains, self.tokens, self.blocks, lora=lora, bypassed=bypassed)

    @property
    def layout(self) -> Layout:
        return Layout(self.ranks, engine=EngineSettings(**self.engine))


RUNS = (
    Run("transfer, ZeRO 0", WIDE, "transfer", 256, engine={"zero_stage": 0}),
    Run("transfer, ZeRO 2, long blocks", WIDE, "transfer", 2048, engine={"zero_stage": 2}),
    Run(
        "transfer, ZeRO 2, checkpointing",
        WIDE,
        "transfer",
        2048,
        engine={"zero_stage": 2, "activation_checkpointing": True},
    ),
    Run("transfer, ZeRO 0, accumulating", WIDE, "transfer", 256, 1, 4, engine={"zero_stage": 0}),
    Run("transfer, ZeRO 2, accumulating", WIDE, "transfer", 256, 1, 4, engine={"zero_stage": 2}),
    Run("heal, ZeRO 2", WIDE, "heal", 512, engine={"zero_stage": 2}),
    Run("transfer, ZeRO 1, 2 ranks", WIDE, "transfer", 512, 2, 4, engine={"zero_stage": 1}),
    Run("transfer, ZeRO 3, 2 ranks", WIDE, "transfer", 512, 2, 4, engine={"zero_stage": 3}),
    Run("transfer, ZeRO 3, fp32", WIDE, "transfer", 512, dtype="float32", engine={"zero_stage": 3}),
    Run(
        "transfer, ZeRO 2, optimizer offloaded",
        WIDE,
        "transfer",
        512,
        engine={"zero_stage": 2, "offload_optimizer": "cpu"},
    ),
    Run(
        "transfer, 135M",
        DEEP,
        "transfer",
        512,
        blocks=2,
        engine={"zero_stage": 2, "micro_batch": 2},
    ),
    Run("gates, long blocks", WIDE, "gates", 4096, engine={"zero_stage": 0}),
    Run("gates, ZeRO 3, 2 ranks", WIDE, "gates", 2048, 2, 2, engine={"zero_stage": 3}),
    Run("gates, 135M", DEEP, "gates", 1024, engine={"zero_stage": 0}),
    Run("lora", WIDE, "lora", 2048, engine={"zero_stage": 2}),
    Run("transfer, Qwen 3", QWEN, "transfer", 1024, engine={"zero_stage": 2}),
)


def main() -> None:
    options = _options()
    if options.large:
        from large_models import tables

        print("\n".join(tables()))
        return
    print(f"{'':<38} {'estimated':>10} {'measured':>10}")
    for run in RUNS:
        if options.only in run.name:
            estimated, measured = peak(run.shape, run.work, run.layout).host.total, measure(run)
            sizes = f"{estimated / 1e6:7.0f} MB {measured / 1e6:7.0f} MB"
            print(f"{run.name:<38} {sizes} {estimated / measured - 1:+6.1%}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--large", action="store_true")
    return parser.parse_args()


def measure(run: Run) -> int:
    """Return the peak resident bytes of the run's largest rank."""
    with tempfile.TemporaryDirectory() as folder:
        _make_model(run, Path(folder))
        ranks = _start_ranks(run, folder)
        outputs = [rank.communicate(timeout=600)[0] for rank in ranks]
    assert all(rank.returncode == 0 for rank in ranks), f"{run.name}: a rank failed"
    return max(int(output.split()[-1]) for output in outputs)


def _start_ranks(run: Run, folder: str) -> list[subprocess.Popen[str]]:
    """Start one process per rank on the model in ``folder``, which find each other over TCP."""
    started = {**vars(run), "folder": folder, "layers_out": LAYERS_OUT}
    command = [sys.executable, str(RANK_PROGRAM), json.dumps(started)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(run.ranks),
        "OMP_NUM_THREADS": "1",
    }
    return [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(run.ranks)
    ]


def _make_model(run: Run, folder: Path) -> None:
    """Save the run's model to ``folder``, with random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    settings = {key: value for key, value in run.config.items() if key != "model_type"}
    config = AutoConfig.for_model(
        run.config["model_type"], **settings, max_position_embeddings=8192
    )
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, run.dtype))
    model.save_pretrained(folder)


if __name__ == "__main__":
    main()
