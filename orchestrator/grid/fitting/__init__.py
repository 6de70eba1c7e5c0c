"""How many layers must go for a model to meet a budget, by its sizes before anything is run."""
