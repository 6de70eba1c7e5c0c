"""Where a grid stands, for people: one screen on a terminal, plain lines elsewhere, or a table."""
