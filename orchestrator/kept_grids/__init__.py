"""Grids as their stores keep them: whatever is needed to look at one from any machine."""
