"""The training step of both stages through DeepSpeed: the only folder that imports it."""
