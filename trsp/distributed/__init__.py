"""Ranks, what they tell each other, and the devices that they run on."""
