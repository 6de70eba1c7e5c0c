"""What the weights' optimizer does at which step. Knows no tensors."""

from dataclasses import dataclass


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW over the trained weights.

    The rate warms up linearly over ``warmup_steps``, then falls linearly to 0 at ``steps``.
    """

    learning_rate: float
    steps: int
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    constant: bool = False  # no schedule: the rate of a ranking may not depend on its depth

    def rate(self, step: int) -> float:
        """The learning rate of step number ``step`` (the first is 0)."""
        if self.constant:
            return self.learning_rate
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / (self.warmup_steps + 1)
        return self.learning_rate * (self.steps - step) / max(1, self.steps - self.warmup_steps)
