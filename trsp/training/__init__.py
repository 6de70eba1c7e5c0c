"""What surrounds a training step: batches, snapshots, signs of life, adapters.

Knows no DeepSpeed.
"""
