"""Commands that say what a grid would do, and do it."""
