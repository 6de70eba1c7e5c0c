"""The optimizer of the gates, beside whatever trains the weights. Knows one vector and the group.

Gates are L fp32 scalars: a training library would cast them to the model's precision, which near 1
has steps of 2^-8. Knows no model.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, distributed

from trsp.errors import TrainingDivergedError


class GateOptimizer:
    """AdamW over one fp32 vector of gates, its gradient averaged over the ranks."""

    def __init__(self, gates: Tensor, learning_rate: float) -> None:
        self.gates = gates
        self._adam = torch.optim.AdamW([gates], lr=learning_rate, weight_decay=0.0)

    def step(self) -> None:
        """Move the gates by their mean gradient over the ranks, and drop it.

        TrainingDivergedError where a gate is no longer finite.
        """
        if self.gates.grad is not None and distributed.get_world_size() > 1:
            distributed.all_reduce(self.gates.grad)
            self.gates.grad /= distributed.get_world_size()
        self._adam.step()
        self._adam.zero_grad()
        if not bool(self.gates.isfinite().all()):
            raise TrainingDivergedError(
                f"gates became {self.gates.tolist()}; lower the gates' learning_rate"
            )

    def state(self) -> dict[str, list[float]]:
        """The gates and their moments, as JSON; exact."""
        tensors = {"gates": self.gates, **self._adam.state[self.gates]}
        return {name: tensor.detach().cpu().view(-1).tolist() for name, tensor in tensors.items()}

    def restore(self, state: Mapping[str, Sequence[float]]) -> None:
        """Go on from what ``state`` returned."""
        with torch.no_grad():
            self.gates.copy_(torch.tensor(state["gates"]))
        moments = {
            name: torch.tensor(state[name]).to(self.gates) for name in ("exp_avg", "exp_avg_sq")
        }
        self._adam.state[self.gates] = {"step": torch.tensor(state["step"][0]), **moments}
