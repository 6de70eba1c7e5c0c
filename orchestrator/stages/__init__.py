"""Which stages make a cell, and the content key of each."""
