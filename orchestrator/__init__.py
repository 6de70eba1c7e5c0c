"""Grids of TRSP runs on a Ray cluster: what is wanted, what exists, and what is done next."""
