"""The scheduler with a simulated clock and cluster: how long a grid takes before it is computed."""
