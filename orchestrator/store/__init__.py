"""What exists: results of stages by their keys, and who works on them."""
