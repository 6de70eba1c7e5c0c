"""What a model carries is remembered, and restored."""

import torch

from tests.tiny import tiny_model
from tests.trsp.engine.ways import marks
from trsp.training.model_restore import ModelRestorer


def test_restore_undoes_what_a_library_did() -> None:
    model = tiny_model("llama")
    model.lm_head.weight.requires_grad_(False)
    marked, restorer = marks(model), ModelRestorer(model)
    model.requires_grad_(True)
    model.model.layers[0].register_forward_pre_hook(lambda *_: None)
    model.model.layers[0].extra = 1
    model.lm_head.weight.master = torch.ones(3)  # type: ignore[union-attr]
    model.lm_head.weight.grad = torch.zeros_like(model.lm_head.weight)
    model.model.train()
    assert marks(model) != marked
    restorer.restore()
    assert marks(model) == marked
