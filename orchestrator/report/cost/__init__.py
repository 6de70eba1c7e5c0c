"""What a grid costs, for people."""
