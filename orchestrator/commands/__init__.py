"""The commands of ``trsp``: each parses what was asked for, and prints the answer."""
