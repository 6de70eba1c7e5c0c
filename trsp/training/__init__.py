"""What surrounds a training step: batches, snapshots, signs of life and adapters. Knows no DeepSpeed."""
