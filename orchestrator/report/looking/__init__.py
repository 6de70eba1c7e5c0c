"""What the commands that look into a store print: lists of grids, two checkpoints, logs."""
