"""What people wish of a driver at work, and what follows from it for its grid. Pure."""
