"""Stages of one cell that follow one another in one process: which, and whose turn it is."""
