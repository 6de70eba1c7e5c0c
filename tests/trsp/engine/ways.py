"""Engine settings that must all give one result, and what is compared of a model."""

import pytest
import torch
from torch import nn

from trsp.config import DriftSettings, EngineSettings

BLOCKS = torch.randint(0, 256, (8, 24), generator=torch.Generator().manual_seed(0))
WAYS = {
    "zero 0": EngineSettings(zero_stage=0),
    "zero 1": EngineSettings(zero_stage=1),
    "zero 2": EngineSettings(zero_stage=2),
    "zero 3": EngineSettings(zero_stage=3, micro_batch=2),
    "micro-batches of 2": EngineSettings(micro_batch=2),
    "activation checkpointing": EngineSettings(activation_checkpointing=True, micro_batch=2),
    "micro-batches of 3": EngineSettings(micro_batch=3),
    "zero 2, offloaded": EngineSettings(zero_stage=2, offload_optimizer="cpu"),
    "all at once": EngineSettings(
        zero_stage=3, offload_optimizer="cpu", offload_weights="cpu", activation_checkpointing=True
    ),
}
SLOW = ("micro-batches of 3", "all at once")
REFERENCE = EngineSettings(zero_stage=0, micro_batch=1)
every_way = pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.slow) if way in SLOW else way for way in WAYS]
)


DRIFT = DriftSettings(learning_rate=1e-3, blocks_per_step=4, steps=4, max_grad_norm=0.5)


def marks(model: nn.Module) -> dict[str, object]:
    """What a stranger could find on a model besides its weights, and torch's linear.

    That is attributes, hooks and switches.
    """
    found: dict[str, object] = {"linear": torch.nn.functional.linear}
    for name, module in model.named_modules():
        attributes = vars(module)
        hooks = {
            key: list(attributes[key].values()) for key in attributes if key.endswith("_hooks")
        }
        found[name] = (sorted(attributes), hooks, type(module._parameters), module.training)
    for name, each in model.named_parameters(remove_duplicate=False):
        mark = (id(each), sorted(vars(each)), each.requires_grad, each.grad)
        found[f"{name} (parameter)"] = mark
    return found
