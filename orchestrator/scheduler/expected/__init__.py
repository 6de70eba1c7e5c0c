"""How long stages are going to take, and the longest path that hangs on each."""
