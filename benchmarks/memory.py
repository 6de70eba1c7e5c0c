"""Estimated against measured peak memory of a rank, on the CPU; and what the estimate says of large models on GPUs.

    python benchmarks/memory.py [--only NAME]   # measured: a fresh process a rank, both stages, about 20 s a row
    python benchmarks/memory.py --large         # the tables of docs/memory.md; nothing is run

Measured is the peak resident set of the largest rank, from its start through loading, three steps and giving the model back.
Random weights of wide models, so that the terms to be checked are larger than Python and its libraries.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.layouts.estimate import USABLE
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.peak import peak
from orchestrator.layouts.workload import Trains, Work
from orchestrator.stages.stage_specs import StageKind
from trsp.architecture.shape import ModelShape, model_shape
from trsp.config import EngineSettings, LoraSettings

WIDE = {
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 6,
}
WIDE |= {
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
}
DEEP |= {
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
OTHER = {
    "model_type": "qwen3",
    "hidden_size": 1024,
    "intermediate_size": 2048,
    "num_hidden_layers": 8,
    "head_dim": 128,
}
OTHER |= {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 16384,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Run:
    """One row: a stage of a model on so many ranks."""

    name: str
    config: dict[str, Any]
    stage: str  # gates, transfer or lora
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
        return Work(
            kind,
            Trains.WEIGHTS if self.stage == "transfer" else Trains.ADAPTERS,
            self.tokens,
            self.blocks,
            lora=lora,
        )

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
    Run("transfer, Qwen 3", OTHER, "transfer", 1024, engine={"zero_stage": 2}),
)


def main() -> None:
    options = _options()
    if options.rank:
        _rank(json.loads(options.rank))
    elif options.large:
        print("\n".join(large()))
    else:
        print(f"{'':<38} {'estimated':>10} {'measured':>10}")
        for run in RUNS:
            if options.only in run.name:
                estimated, measured = peak(run.shape, run.work, run.layout).host.total, measure(run)
                print(
                    f"{run.name:<38} {estimated / 1e6:7.0f} MB {measured / 1e6:7.0f} MB {estimated / measured - 1:+6.1%}",
                    flush=True,
                )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    return parser.parse_args()


# --- measured -----------------------------------------------------------------------------------------------------------


def measure(run: Run) -> int:
    """Peak resident bytes of the largest rank."""
    with tempfile.TemporaryDirectory() as folder:
        _make_model(run, Path(folder))
        asked = {**vars(run), "folder": folder}
        command = [sys.executable, str(Path(__file__).resolve()), "--rank", json.dumps(asked)]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(run.ranks),
            "OMP_NUM_THREADS": "1",
        }
        ranks = [
            subprocess.Popen(
                command,
                env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for rank in range(run.ranks)
        ]
        said = [rank.communicate(timeout=600)[0] for rank in ranks]
    assert all(rank.returncode == 0 for rank in ranks), f"{run.name}: a rank failed"
    return max(int(each.split()[-1]) for each in said)


def _make_model(run: Run, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    settings = {key: value for key, value in run.config.items() if key != "model_type"}
    config = AutoConfig.for_model(
        run.config["model_type"], **settings, max_position_embeddings=8192
    )
    AutoModelForCausalLM.from_config(config, dtype=getattr(torch, run.dtype)).save_pretrained(
        folder
    )


def _rank(asked: dict[str, Any]) -> None:
    """One rank: as a stage's process does it, without its store."""
    import torch

    from trsp.checkpoints.checkpoint import load_model
    from trsp.config import DriftSettings, GatesSettings
    from trsp.distributed.device import peak_memory_bytes
    from trsp.engine.load_sharded import load_sharded
    from trsp.selection import rank_layers
    from trsp.transfer import transfer

    engine, stage = EngineSettings(**asked["engine"]), asked["stage"]
    sharded = engine.zero_stage == 3 and asked["ranks"] > 1
    model = load_sharded(asked["folder"], engine=engine) if sharded else load_model(asked["folder"])
    shape = asked["blocks"], asked["tokens"]
    blocks = torch.randint(
        model.config.vocab_size, shape, generator=torch.Generator().manual_seed(0)
    )
    if stage == "gates":
        gates = GatesSettings(steps_per_round=3, blocks_per_step=asked["blocks"])
        list(rank_layers(model, blocks, gates, depth=1, engine=engine))
    else:
        lora = LoraSettings() if stage == "lora" else None
        drift = DriftSettings(steps=3, blocks_per_step=asked["blocks"], lora=lora)
        transfer(model, [2, 3], blocks, drift, 1e-3, engine)
    print(peak_memory_bytes(torch.device("cpu")), flush=True)
    os._exit(0)  # nothing after this is of interest, and tearing down a process group may hang


# --- large models -------------------------------------------------------------------------------------------------------

GPU_BYTES = 80e9
LARGE = {
    "7B": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    "13B": {
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
    },
    "70B": {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    },
}


def large() -> Iterator[str]:
    """Markdown: GB a GPU, and of the host where something is offloaded; in bold what an 80 GB GPU holds."""
    for name, settings in LARGE.items():
        shape = model_shape(
            {"model_type": "llama", "vocab_size": 32000, "dtype": "bfloat16", **settings}
        )
        yield from _section(name, shape)


def _section(name: str, shape: ModelShape) -> Iterator[str]:
    ranks = {"7B": (1, 2, 4, 8), "13B": (1, 2, 4, 8), "70B": (4, 8, 16, 32)}[name]
    yield f"\n**{name}** ({shape.params / 1e9:.2f}B parameters)\n"
    yield f"| stage | settings | {' | '.join(f'{number} GPUs' if number > 1 else '1 GPU' for number in ranks)} |"
    yield f"|---|---|{'---:|' * len(ranks)}"
    for stage, settings, engine in _rows():
        lora = LoraSettings() if stage == "lora" else None
        trains = Trains.WEIGHTS if stage == "transfer" else Trains.ADAPTERS
        work = Work(StageKind.TRANSFER, trains, 2048, 16, lora=lora)
        layouts = [Layout(number, gpus=1, engine=engine) for number in ranks]
        yield f"| {stage} | {settings} | {' | '.join(_cell(shape, work, layout) for layout in layouts)} |"


def _rows() -> Iterator[tuple[str, str, EngineSettings]]:
    plain: dict[str, Any] = {"activation_checkpointing": True}
    yield "gates", "ZeRO 0", EngineSettings(zero_stage=0, **plain)
    yield "gates", "ZeRO 3", EngineSettings(zero_stage=3, **plain)
    yield "lora", "ZeRO 3", EngineSettings(zero_stage=3, **plain)
    for stage in (1, 2, 3):
        yield "transfer", f"ZeRO {stage}", EngineSettings(zero_stage=stage, **plain)
    yield "transfer", "ZeRO 3, activations kept", EngineSettings(zero_stage=3)
    yield "transfer", "ZeRO 3, micro-batch 4", EngineSettings(zero_stage=3, micro_batch=4, **plain)
    yield (
        "transfer",
        "ZeRO 3, optimizer on host",
        EngineSettings(zero_stage=3, offload_optimizer="cpu", **plain),
    )
    both: dict[str, Any] = {"offload_optimizer": "cpu", "offload_weights": "cpu"}
    yield "transfer", "ZeRO 3, all on host", EngineSettings(zero_stage=3, **both, **plain)


def _cell(shape: ModelShape, work: Work, layout: Layout) -> str:
    found = peak(shape, work, layout)
    assert found.gpu is not None
    size = f"{found.gpu.total / 1e9:.0f}"
    host = f" + {found.host.total / 1e9:.0f}" if layout.engine.offload_optimizer != "none" else ""
    return f"**{size}**{host}" if found.gpu.total <= USABLE * GPU_BYTES else f"{size}{host}"


if __name__ == "__main__":
    main()
