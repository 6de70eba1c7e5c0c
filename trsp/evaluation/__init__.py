"""Scores, speed and memory of a model."""
