"""Artifacts of an object store on a node: how they get there and back, and what stays there."""
