"""One rank of a group, run by test_engine: ranks and trains a tiny model, and prints one JSON object of what it saw.

Usage: ranks.py ZERO_STAGE, with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in the environment.
"""

import json
import math
import os
import sys
from typing import Any

import torch

from tests.tiny import tiny_model
from trsp.config import DriftSettings, EngineSettings, GatesSettings
from trsp.errors import TrainingDivergedError
from trsp.selection import rank
from trsp.transfer import transfer

BLOCKS = torch.randint(0, 256, (8, 24), generator=torch.Generator().manual_seed(0))
GATES = GatesSettings(learning_rate=0.03, blocks_per_step=4)
DRIFT = DriftSettings(learning_rate=1e-3, blocks_per_step=4, steps=4, max_grad_norm=0.5)


def work(zero_stage: int) -> dict[str, Any]:
    engine = EngineSettings(zero_stage=zero_stage)
    model = tiny_model("llama")
    rounds = list(rank(model, BLOCKS, GATES, depth=2, engine=engine))
    record = transfer(model, [1, 3], BLOCKS, DRIFT, 0.5, engine)
    return {
        "order": [each.layer for each in rounds],
        "gates": list(rounds[-1].scores.values()),
        "losses": [*rounds[-1].lm_loss, *record.lm_loss],
        "drift": record.drift,
        "weights": [parameter.double().norm().item() for parameter in model.parameters()],
    }


def diverges_on_all_ranks(zero_stage: int) -> bool:
    """The NaN is in the last rank's copy alone: the others must hear of it, or wait for ever."""
    model = tiny_model("llama")
    if os.environ.get("RANK") == "1":
        model.model.layers[0].mlp.down_proj.register_forward_hook(lambda _, args, output: output * math.nan)
    try:
        transfer(model, [1], BLOCKS, DRIFT, 0.5, EngineSettings(zero_stage=zero_stage))
    except TrainingDivergedError:
        return True
    return False


if __name__ == "__main__":
    stage = int(sys.argv[1])
    print(json.dumps({**work(stage), "diverged": diverges_on_all_ranks(stage)}))
