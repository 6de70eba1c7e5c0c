"""A grid as it stands at one moment, and the best checkpoint under a budget."""
