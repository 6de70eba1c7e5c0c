"""What to start, hold back, repeat or give up, and the loop that does it."""
