"""One rank of a run of memory.py: what a stage's process does, without its store.

Started by memory.py in a fresh process, with the run as JSON; prints the process's peak memory.
"""

import json
import os
import sys
from typing import Any

import torch

from trsp.checkpoints.checkpoint import load_model
from trsp.config import (
    DriftSettings,
    EngineSettings,
    GatesSettings,
    HealSettings,
    LoraSettings,
)
from trsp.distributed.device import peak_memory_bytes
from trsp.engine.load_sharded import load_sharded
from trsp.selection import rank_layers
from trsp.transfer import transfer

STEPS = 3


def main() -> None:
    run: dict[str, Any] = json.loads(sys.argv[1])
    engine = EngineSettings(**run["engine"])
    model = _load(run, engine)
    blocks_BT = torch.randint(
        model.config.vocab_size,
        (run["blocks"], run["tokens"]),
        generator=torch.Generator().manual_seed(0),
    )
    if run["stage"] == "gates":
        gates = GatesSettings(steps_per_round=STEPS, blocks_per_step=run["blocks"])
        list(rank_layers(model, blocks_BT, gates, depth=1, engine=engine))
    else:
        lora = LoraSettings() if run["stage"] == "lora" else None
        kind = HealSettings if run["stage"] == "heal" else DriftSettings
        settings = kind(steps=STEPS, blocks_per_step=run["blocks"], lora=lora)
        transfer(model, run["layers_out"], blocks_BT, settings, 1e-3, engine)
    print(peak_memory_bytes(torch.device("cpu")), flush=True)
    os._exit(0)  # nothing after this is of interest, and tearing down a process group may hang


def _load(run: dict[str, Any], engine: EngineSettings) -> Any:
    """Return the run's model: this rank's share of it under ZeRO-3, otherwise the whole."""
    if engine.zero_stage == 3 and run["ranks"] > 1:
        return load_sharded(run["folder"], engine=engine)
    return load_model(run["folder"])


if __name__ == "__main__":
    main()
