"""The commands that keep stores in order and hand checkpoints on."""
