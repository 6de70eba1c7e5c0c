"""Checkpoints of cells handed on to others: as a folder of their own, or to a hub."""
